//! An OCI image layout, as bytes: layers as tar with gzip, configuration, manifest and index, each named by its digest.
//! The same input makes the same bytes: entries are sorted, times are the given one, and owners are numbers.
//!
//! Written after the image specification 1.1 (image-layout.md, config.md, manifest.md, layer.md). Reads no file and has
//! no clock.

use std::collections::BTreeMap;
use std::io::Write as _;

use anyhow::{Context as _, Result};
use flate2::{Compression, GzBuilder};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::plan::Image;

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
/// gzip and not zstd: every registry, runtime and scanner reads it.
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

/// The files of a layer, by path without the leading `/`. Folders above them need no entry.
pub(crate) type Layer = BTreeMap<String, Entry>;

/// What is at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    /// A file that everybody may read and root may write.
    File(Vec<u8>),
    /// A file that everybody may run as well.
    Program(Vec<u8>),
    /// A folder that belongs to this user and group, and that nobody else may enter.
    Own(u32),
}

/// What else an image says of itself.
#[derive(Clone, Debug)]
pub(crate) struct About {
    /// The architecture, as Go spells it.
    pub(crate) architecture: &'static str,
    /// Seconds since 1970 that every time in the image is.
    pub(crate) epoch_s: u64,
    /// The same, as RFC 3339 has it.
    pub(crate) created: String,
    /// The version of its programs.
    pub(crate) version: String,
    /// The commit they were built from.
    pub(crate) revision: String,
    /// The licence of its programs.
    pub(crate) licence: String,
}

/// An image, ready to be written.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    /// Files by path.
    pub(crate) files: BTreeMap<String, Vec<u8>>,
    /// The manifest's digest, which pins the image.
    pub(crate) digest: String,
    /// Bytes of the compressed layers.
    pub(crate) compressed_bytes: u64,
}

impl Layout {
    /// Makes one of these layers, the lowest first.
    ///
    /// # Errors
    /// A path is too long for a tar.
    pub(crate) fn of(image: &Image, about: &About, layers: &[Layer]) -> Result<Self> {
        let mut blobs = Blobs::default();
        let (mut diff_ids, mut descriptors, mut compressed_bytes) = (Vec::new(), Vec::new(), 0);
        for layer in layers {
            let tar = tar(layer, about.epoch_s)?;
            let gzip = gzip(&tar)?;
            compressed_bytes += u64::try_from(gzip.len())?;
            diff_ids.push(digest(&tar));
            descriptors.push(blobs.add(LAYER, gzip));
        }
        let config = serde_json::to_vec(&configuration(image, about, &diff_ids))?;
        let config = blobs.add(CONFIG, config);
        // What `docker load` of before version 25 looks for; everything else reads the index.
        let docker = json!([{
            "Config": blob_path(&config),
            "RepoTags": [format!("{}:{}", image.name, about.version)],
            "Layers": descriptors.iter().map(blob_path).collect::<Vec<_>>(),
        }]);
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": config,
            "layers": descriptors,
            "annotations": labels(image, about),
        });
        let mut manifest = blobs.add(MANIFEST, serde_json::to_vec(&manifest)?);
        let digest = text(&manifest, "digest");
        if let Some(manifest) = manifest.as_object_mut() {
            let platform = json!({ "architecture": about.architecture, "os": "linux" });
            manifest.insert("platform".into(), platform);
            let names = json!({
                "org.opencontainers.image.ref.name": about.version,
                "io.containerd.image.name": format!("docker.io/library/{}:{}", image.name, about.version),
            });
            manifest.insert("annotations".into(), names);
        }
        let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": [manifest] });
        let mut files = blobs.0;
        files.insert("index.json".into(), serde_json::to_vec(&index)?);
        files.insert("manifest.json".into(), serde_json::to_vec(&docker)?);
        let version = json!({ "imageLayoutVersion": "1.0.0" });
        files.insert("oci-layout".into(), serde_json::to_vec(&version)?);
        Ok(Self {
            files,
            digest,
            compressed_bytes,
        })
    }

    /// The layout as one file, for `skopeo copy oci-archive:`, `ctr image import` and `docker load`.
    ///
    /// # Errors
    /// A path is too long for a tar.
    pub(crate) fn archive(&self, epoch_s: u64) -> Result<Vec<u8>> {
        let files = self.files.iter();
        let layer = files.map(|(path, bytes)| (path.clone(), Entry::File(bytes.clone())));
        tar(&layer.collect(), epoch_s)
    }
}

/// Blobs by their path in the layout.
#[derive(Default)]
struct Blobs(BTreeMap<String, Vec<u8>>);

impl Blobs {
    /// Takes a blob; what describes it.
    fn add(&mut self, media_type: &str, bytes: Vec<u8>) -> Value {
        let descriptor = json!({
            "mediaType": media_type,
            "digest": digest(&bytes),
            "size": bytes.len(),
        });
        self.0.insert(blob_path(&descriptor), bytes);
        descriptor
    }
}

fn text(object: &Value, key: &str) -> String {
    let text = object.get(key).and_then(Value::as_str);
    text.unwrap_or_default().to_owned()
}

fn blob_path(descriptor: &Value) -> String {
    format!("blobs/{}", text(descriptor, "digest").replace(':', "/"))
}

/// `sha256:` and the checksum in hex.
pub(crate) fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", sha256(bytes))
}

/// The checksum in hex.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    let mut hex = String::new();
    for byte in Sha256::digest(bytes) {
        // A string takes all that is written to it.
        let _taken = write!(hex, "{byte:02x}");
    }
    hex
}

fn configuration(image: &Image, about: &About, diff_ids: &[String]) -> Value {
    let history = diff_ids
        .iter()
        .map(|_| json!({ "created": about.created, "created_by": "cargo xtask image" }));
    let ports = image.ports.iter();
    let ports = ports.map(|port| (format!("{port}/tcp"), json!({})));
    json!({
        "created": about.created,
        "architecture": about.architecture,
        "os": "linux",
        "config": {
            "User": format!("{0}:{0}", image.user),
            "ExposedPorts": ports.collect::<serde_json::Map<_, _>>(),
            // So that `kubectl exec POD -- plimsoll` finds it.
            "Env": ["PATH=/"],
            "Entrypoint": [format!("/{}", image.name)],
            "Cmd": image.arguments,
            "WorkingDir": "/",
            "Labels": labels(image, about),
            "StopSignal": "SIGTERM",
        },
        "rootfs": { "type": "layers", "diff_ids": diff_ids },
        "history": history.collect::<Vec<_>>(),
    })
}

fn labels(image: &Image, about: &About) -> Value {
    json!({
        "org.opencontainers.image.created": about.created,
        "org.opencontainers.image.description": image.description,
        "org.opencontainers.image.licenses": about.licence,
        "org.opencontainers.image.revision": about.revision,
        "org.opencontainers.image.title": image.name,
        "org.opencontainers.image.version": about.version,
    })
}

fn tar(layer: &Layer, epoch_s: u64) -> Result<Vec<u8>> {
    let mut tar = tar::Builder::new(Vec::new());
    let mut folders: BTreeMap<String, Option<&Entry>> = BTreeMap::new();
    for (path, entry) in layer {
        for (at, _) in path.match_indices('/') {
            let folder = path.get(..at).unwrap_or_default();
            folders.entry(folder.to_owned()).or_insert(None);
        }
        folders.insert(path.clone(), Some(entry));
    }
    for (path, entry) in folders {
        let mut header = tar::Header::new_ustar();
        header.set_mtime(epoch_s);
        let (kind, mode, owner, bytes): (_, _, _, &[u8]) = match entry {
            None => (tar::EntryType::Directory, 0o755, 0, &[]),
            Some(Entry::Own(user)) => (tar::EntryType::Directory, 0o700, *user, &[]),
            Some(Entry::File(bytes)) => (tar::EntryType::Regular, 0o644, 0, bytes),
            Some(Entry::Program(bytes)) => (tar::EntryType::Regular, 0o755, 0, bytes),
        };
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_uid(u64::from(owner));
        header.set_gid(u64::from(owner));
        header.set_size(u64::try_from(bytes.len())?);
        let name = if kind.is_dir() {
            format!("{path}/")
        } else {
            path
        };
        let added = tar.append_data(&mut header, &name, bytes);
        added.with_context(|| format!("putting {name} into a layer"))?;
    }
    tar.into_inner().context("ending a tar")
}

fn gzip(bytes: &[u8]) -> Result<Vec<u8>> {
    let mut gzip = GzBuilder::new()
        .mtime(0)
        .write(Vec::new(), Compression::best());
    gzip.write_all(bytes).context("compressing a layer")?;
    gzip.finish().context("compressing a layer")
}

#[cfg(test)]
mod tests;
