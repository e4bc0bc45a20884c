#![expect(
    clippy::disallowed_methods,
    reason = "shell: writes images below target/image"
)]
//! `cargo xtask image`: OCI images of the agent and of the collector with the command line, from scratch, without an
//! engine. The same sources, toolchain and packages make the same bytes.
//!
//! Facts (what is in which image, what cargo resolved, what the machine has), then bytes ([`layout`]), then files; each
//! image is tried ([`check`]) before its digest is printed.

mod build;
mod check;
mod layout;
mod licences;
mod names;
mod plan;
mod sbom;
mod sources;
mod verify;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context as _, Result, bail, ensure};
use clap::Args;

use self::build::Place;
use self::layout::{Entry, Layer, Layout};
use self::plan::{IMAGES, Image};
use self::sbom::Part;
use crate::{ebpf, install, shell};

/// The document in an image, and the end of its name beside it.
const SBOM: &str = "sbom.cdx.json";

/// Builds the OCI images of the agent and of the collector with the command line.
///
/// Each is a layout (a folder) and one .tar below target/image, with its bill of materials beside it. Both are tried
/// before their digests are printed; one that is too large is an error.
#[derive(Debug, Args)]
pub(crate) struct Images {
    /// Build again in another folder, and compare.
    #[arg(long)]
    verify: bool,
    /// Install what is missing without asking.
    #[arg(long)]
    yes: bool,
    /// Try the unpacked images in this folder: called by this program itself, in a network namespace.
    #[arg(long, hide = true)]
    inside: Option<PathBuf>,
}

/// A built image.
struct Built {
    image: &'static Image,
    layout: Layout,
    bom: Vec<u8>,
    programs: Vec<Vec<u8>>,
}

impl Images {
    pub(crate) fn run(&self) -> Result<()> {
        if let Some(folder) = &self.inside {
            return check::inside(folder);
        }
        install::ensure(&install::BUILD, self.yes)?;
        install::ensure(&install::STAGE, self.yes)?;
        let root = shell::root();
        ebpf::ensure_toolchain(&root, self.yes)?;
        let tool = build::tool(&root)?;
        shell::run(&mut shell::cargo(&["fetch", "--locked"]))?;
        let folder = root.join("target/image");
        let place = place(&root, &root, &folder.join("build"))?;
        let images = all(&place, &tool)?;
        let unpacked = folder.join("root");
        remove(&unpacked)?;
        for built in &images {
            write(&folder, built)?;
            let into = unpacked.join(built.image.folder);
            std::fs::create_dir_all(&into).with_context(|| into.display().to_string())?;
            check::unpack(&built.layout, &into)?;
        }
        check::run(&unpacked)?;
        remove(&unpacked)?;
        let mut large = Vec::new();
        for Built { image, layout, .. } in &images {
            let megabytes = |bytes: u64| bytes as f64 / 1e6;
            let (is, limit) = (
                megabytes(layout.compressed_bytes),
                megabytes(image.limit_bytes),
            );
            shell::print(&format!(
                "{} {} {is:.1} MB of {limit:.0}",
                image.name, layout.digest
            ));
            if layout.compressed_bytes > image.limit_bytes {
                large.push(image.name);
            }
        }
        ensure!(
            large.is_empty(),
            "larger than they may be: {}",
            large.join(", ")
        );
        if self.verify {
            verify::run(&root, &tool, &images)?;
        }
        Ok(())
    }
}

/// The sources of `root`, with its kernel object compiled; the tools are those of `tools`.
fn place(tools: &Path, root: &Path, target: &Path) -> Result<Place> {
    Ok(Place {
        root: root.to_owned(),
        target: target.to_owned(),
        object: ebpf::build_ebpf_of(tools, root, &target.join("ebpf"))?,
    })
}

/// Builds every image.
fn all(place: &Place, tool: &Path) -> Result<Vec<Built>> {
    IMAGES
        .into_iter()
        .map(|image| one(image, place, tool))
        .collect()
}

fn one(image: &'static Image, place: &Place, tool: &Path) -> Result<Built> {
    let metadata = sources::metadata(&place.root)?;
    let about = sources::about(&metadata, image)?;
    let began = Instant::now();
    let programs = build::programs(image, place, tool, about.epoch_s)?;
    shell::say(&format!(
        "{}: compiled in {} s",
        image.name,
        began.elapsed().as_secs()
    ));

    let mut crates = sources::crates(&place.root, image.name, &build::target())?;
    for program in &programs {
        check::lists_its_crates(program, &registry(&crates))?;
    }
    let mut licences = sources::crate_licences(&metadata, &crates.linked)?;
    let system = sources::system()?;
    let mut parts = system.parts;
    licences.extend(system.licences);
    if image.name == plan::AGENT.name {
        let workspace = place.root.join("ebpf");
        let metadata = sources::metadata(&workspace)?;
        let kernel = sources::crates(&workspace, "plimsoll-ebpf", "all")?;
        licences.extend(sources::crate_licences(&metadata, &kernel.linked)?);
        crates.tree.extend(kernel.tree);
        crates.linked.extend(kernel.linked);
        crates.checksums.extend(kernel.checksums);
        let object = sources::read(&place.object)?;
        parts.push(file(
            "plimsoll.bpf.o",
            &object,
            "Apache-2.0 OR GPL-2.0-only",
        ));
    }
    let mut top = Layer::new();
    for (name, bytes) in image.programs.iter().zip(&programs) {
        parts.push(file(&format!("/{name}"), bytes, "Apache-2.0"));
        top.insert((*name).to_owned(), Entry::Program(bytes.clone()));
    }
    let facts = sbom::Facts {
        tree: &crates.tree,
        linked: &crates.linked,
        checksums: &crates.checksums,
        parts: &parts,
    };
    let bom = serde_json::to_vec_pretty(&sbom::bom(image, &about, &facts))?;
    let licence = sources::read(&place.root.join("LICENSE"))?;
    top.insert("licenses/LICENSE".to_owned(), Entry::File(licence));
    let others = licences::document(&licences).into_bytes();
    top.insert("licenses/THIRD-PARTY.txt".to_owned(), Entry::File(others));
    top.insert(SBOM.to_owned(), Entry::File(bom.clone()));
    let layers = [base(image, system.files), top];
    let layout = Layout::of(image, &about, &layers)?;
    Ok(Built {
        image,
        layout,
        bom,
        programs,
    })
}

/// What changes seldom, so that a node that has one version pulls little more than the programs of the next.
fn base(image: &Image, files: BTreeMap<String, Vec<u8>>) -> Layer {
    let files = files
        .into_iter()
        .map(|(path, bytes)| (path, Entry::File(bytes)));
    let mut layer: Layer = files.collect();
    let own = image.data.trim_start_matches('/').to_owned();
    layer.insert(own, Entry::Own(image.user));
    // What glibc takes without the file, said for those who look.
    let names = b"hosts: files dns\n".to_vec();
    layer.insert("etc/nsswitch.conf".to_owned(), Entry::File(names));
    layer
}

/// Crates that have an archive: those that lists of crates are compared by.
fn registry(crates: &sources::Crates) -> std::collections::BTreeSet<sbom::Crate> {
    let linked = crates.linked.iter();
    linked
        .filter(|one| crates.checksums.contains_key(*one))
        .cloned()
        .collect()
}

fn file(name: &str, bytes: &[u8], licence: &'static str) -> Part {
    Part {
        kind: "file",
        name: name.to_owned(),
        version: None,
        purl: None,
        sha256: Some(layout::sha256(bytes)),
        licence,
    }
}

/// Writes layout, archive and bill of materials; what was there before goes.
fn write(folder: &Path, built: &Built) -> Result<()> {
    let name = built.image.folder;
    let layout = folder.join(name);
    remove(&layout)?;
    let archive = built.layout.archive(0)?;
    let beside = [
        (format!("{name}.tar"), &archive),
        (format!("{name}.{SBOM}"), &built.bom),
    ];
    let inside = built.layout.files.iter();
    let inside = inside.map(|(path, bytes)| (format!("{name}/{path}"), bytes));
    for (path, bytes) in inside.chain(beside) {
        let path = folder.join(path);
        if let Some(above) = path.parent() {
            std::fs::create_dir_all(above).with_context(|| above.display().to_string())?;
        }
        std::fs::write(&path, bytes).with_context(|| format!("writing {}", path.display()))?;
    }
    Ok(())
}

fn remove(folder: &Path) -> Result<()> {
    match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            bail!("removing {}: {error}", folder.display())
        }
        _ => Ok(()),
    }
}
