#![expect(
    clippy::disallowed_methods,
    reason = "shell: asks cargo, git and dpkg, reads licences and authorities"
)]
//! What goes into an image beside its programs, from where the machine that builds has it: licences, the bundle of
//! authorities, what cargo resolved, the commit.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use super::layout::{About, sha256};
use super::licences::Licensed;
use super::plan::Image;
use super::sbom::{self, Crate, Part, Tree};
use crate::shell;

/// Where Debian's ca-certificates puts the bundle, and where the image has it.
pub(crate) const AUTHORITIES: &str = "etc/ssl/certs/ca-certificates.crt";

/// What an image says of itself: version and licence of its package, the commit, and its time or `SOURCE_DATE_EPOCH`.
pub(crate) fn about(metadata: &Value, image: &Image) -> Result<About> {
    let package = packages(metadata).find(|package| field(package, "name") == image.name);
    let package = package.with_context(|| format!("no package {}", image.name))?;
    let git = |args: &[&str]| shell::read(&mut shell::command("git", args));
    let epoch = match std::env::var("SOURCE_DATE_EPOCH") {
        Ok(epoch) => epoch,
        Err(_) => git(&["log", "-1", "--format=%ct"])?,
    };
    let epoch_s = epoch
        .trim()
        .parse()
        .context("SOURCE_DATE_EPOCH: seconds since 1970")?;
    let changed = if git(&["status", "--porcelain"])?.is_empty() {
        ""
    } else {
        "-changed"
    };
    Ok(About {
        architecture: match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => bail!("no images for {other}"),
        },
        epoch_s,
        created: rfc3339(epoch_s)?,
        version: field(package, "version").to_owned(),
        revision: format!("{}{changed}", git(&["rev-parse", "HEAD"])?.trim()),
        licence: field(package, "license").to_owned(),
    })
}

fn rfc3339(epoch_s: u64) -> Result<String> {
    let time = jiff::Timestamp::from_second(i64::try_from(epoch_s)?);
    Ok(time.context("SOURCE_DATE_EPOCH")?.to_string())
}

/// What cargo knows of all packages of a workspace.
pub(crate) fn metadata(workspace: &Path) -> Result<Value> {
    let mut command = shell::cargo(&["metadata", "--locked", "--format-version", "1"]);
    let text = shell::read(command.current_dir(workspace))?;
    serde_json::from_str(&text).context("cargo metadata")
}

/// Crates of an image.
#[derive(Debug)]
pub(crate) struct Crates {
    /// All, with what they are built from.
    pub(crate) tree: Tree,
    /// Those whose code is in the image.
    pub(crate) linked: BTreeSet<Crate>,
    /// Checksums of their archives.
    pub(crate) checksums: BTreeMap<Crate, String>,
}

/// The crates of a package for a target.
pub(crate) fn crates(workspace: &Path, package: &str, target: &str) -> Result<Crates> {
    let tree = |edges: &str| {
        let mut command =
            shell::cargo(&["tree", "--locked", "--prefix", "depth", "--edges", edges]);
        command.args([
            "--package",
            package,
            "--target",
            target,
            "--format",
            sbom::TREE_FORMAT,
        ]);
        Tree::parse(&shell::read(command.current_dir(workspace))?)
    };
    let lock = workspace.join("Cargo.lock");
    let lock = std::fs::read_to_string(&lock).with_context(|| lock.display().to_string())?;
    Ok(Crates {
        tree: tree("normal,build")?,
        linked: tree("normal,no-proc-macro")?.crates.into_keys().collect(),
        checksums: sbom::checksums(&lock),
    })
}

/// The licences of crates, from the folders that cargo unpacked them into.
pub(crate) fn crate_licences(metadata: &Value, linked: &BTreeSet<Crate>) -> Result<Vec<Licensed>> {
    let mut found = Vec::new();
    for package in packages(metadata) {
        let one = (
            field(package, "name").to_owned(),
            field(package, "version").to_owned(),
        );
        if !linked.contains(&one) {
            continue;
        }
        let manifest = PathBuf::from(field(package, "manifest_path"));
        let folder = manifest.parent().context("a manifest lies in a folder")?;
        // Ours have the workspace's, which lies beside this text; what one of them brings along is others'.
        if package.get("source").is_none_or(Value::is_null) {
            let schema = folder.join("ocsf");
            if schema.is_dir() {
                found.push(Licensed {
                    what: "Open Cybersecurity Schema Framework (data)".to_owned(),
                    licence: "Apache-2.0".to_owned(),
                    texts: texts_in(&schema)?,
                });
            }
            continue;
        }
        found.push(Licensed {
            what: format!("{} {}", one.0, one.1),
            licence: field(package, "license").to_owned(),
            texts: texts_in(folder)?,
        });
    }
    Ok(found)
}

/// Files of a folder that are licences by their names.
fn texts_in(folder: &Path) -> Result<Vec<(String, String)>> {
    const NAMES: [&str; 6] = [
        "COPYING",
        "COPYRIGHT",
        "LICENCE",
        "LICENSE",
        "NOTICE",
        "UNLICENSE",
    ];
    let entries = std::fs::read_dir(folder).with_context(|| folder.display().to_string())?;
    let mut texts = Vec::new();
    for entry in entries {
        let path = entry?.path();
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let upper = name.to_uppercase();
        if path.is_file() && NAMES.iter().any(|known| upper.starts_with(known)) {
            let bytes = std::fs::read(&path).with_context(|| path.display().to_string())?;
            texts.push((name, String::from_utf8_lossy(&bytes).into_owned()));
        }
    }
    texts.sort();
    Ok(texts)
}

/// What is linked or copied from the distribution and from the Rust toolchain.
#[derive(Debug)]
pub(crate) struct System {
    /// For the bill of materials.
    pub(crate) parts: Vec<Part>,
    /// Files for the image.
    pub(crate) files: BTreeMap<String, Vec<u8>>,
    /// Their licences, those of the standard library aside, which are a page of their own in `files`.
    pub(crate) licences: Vec<Licensed>,
}

/// The C library and the unwinder that every program is linked with, the standard library, the authorities.
///
/// # Errors
/// One of them is not where Debian's packages or rustup's toolchain have it.
pub(crate) fn system() -> Result<System> {
    let gcc = shell::read(&mut shell::command("cc", &["-dumpversion"]))?;
    let gcc = format!("libgcc-{}-dev", gcc.trim());
    let mut system = System {
        parts: Vec::new(),
        files: BTreeMap::new(),
        licences: Vec::new(),
    };
    let packages: [(&str, &'static str, &[&str]); 3] = [
        ("libc6-dev", "LGPL-2.1-or-later", &["LGPL-2.1"]),
        (&gcc, "GPL-3.0-or-later WITH GCC-exception-3.1", &["GPL-3"]),
        ("ca-certificates", "MPL-2.0", &["MPL-2.0"]),
    ];
    for (package, licence, common) in packages {
        let query = ["--show", "--showformat=${Version}", package];
        let version = shell::read(&mut shell::command("dpkg-query", &query))?;
        let mut texts = vec![(
            "copyright".to_owned(),
            read_text(&PathBuf::from(format!(
                "/usr/share/doc/{package}/copyright"
            )))?,
        )];
        for name in common {
            let text = read_text(&Path::new("/usr/share/common-licenses").join(name))?;
            texts.push(((*name).to_owned(), text));
        }
        system.parts.push(Part {
            kind: "library",
            name: package.to_owned(),
            version: Some(version.clone()),
            purl: Some(format!("pkg:deb/debian/{package}@{version}")),
            sha256: None,
            licence,
        });
        system.licences.push(Licensed {
            what: format!("{package} {version} (Debian)"),
            licence: licence.to_owned(),
            texts,
        });
    }
    let authorities = read(&Path::new("/").join(AUTHORITIES))?;
    system.parts.push(Part {
        kind: "file",
        name: format!("/{AUTHORITIES}"),
        version: None,
        purl: None,
        sha256: Some(sha256(&authorities)),
        licence: "MPL-2.0",
    });
    system.files.insert(AUTHORITIES.to_owned(), authorities);
    standard_library(&mut system)?;
    Ok(system)
}

fn standard_library(system: &mut System) -> Result<()> {
    let mut rustc = shell::command("rustc", &["--version"]);
    let version = shell::read(&mut rustc)?;
    let version = version.split(' ').nth(1).unwrap_or_default().to_owned();
    let sysroot = shell::read(&mut shell::command("rustc", &["--print", "sysroot"]))?;
    let page = Path::new(sysroot.trim()).join("share/doc/rust/COPYRIGHT-library.html");
    system.files.insert(
        "licenses/rust-standard-library.html".to_owned(),
        read(&page)?,
    );
    system.parts.push(Part {
        kind: "library",
        name: "rust-std".to_owned(),
        version: Some(version),
        purl: None,
        sha256: None,
        licence: "MIT OR Apache-2.0",
    });
    Ok(())
}

/// Folders of cargo's registries, in which the sources of crates lie.
pub(crate) fn registries() -> Result<Vec<PathBuf>> {
    let home = match std::env::var_os("CARGO_HOME") {
        Some(home) => PathBuf::from(home),
        None => PathBuf::from(std::env::var_os("HOME").context("HOME")?).join(".cargo"),
    };
    let folder = home.join("registry/src");
    let entries = std::fs::read_dir(&folder).with_context(|| folder.display().to_string())?;
    let mut folders: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    folders.sort();
    Ok(folders)
}

/// The files that git tracks below a folder, and new ones that it does not ignore.
pub(crate) fn tracked() -> Result<Vec<PathBuf>> {
    let args = [
        "ls-files",
        "-z",
        "--cached",
        "--others",
        "--exclude-standard",
    ];
    let listed = shell::read(&mut shell::command("git", &args))?;
    let names = listed.split('\0').filter(|name| !name.is_empty());
    Ok(names.map(PathBuf::from).collect())
}

/// A program that finds cargo and its toolchain by the environment, in a folder.
pub(crate) fn program(path: impl AsRef<OsStr>, folder: &Path) -> Command {
    let mut command = Command::new(path);
    command.current_dir(folder);
    command
}

pub(crate) fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("reading {}", path.display()))
}

fn read_text(path: &Path) -> Result<String> {
    Ok(String::from_utf8_lossy(&read(path)?).into_owned())
}

fn packages(metadata: &Value) -> impl Iterator<Item = &Value> {
    metadata
        .get("packages")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
}

fn field<'a>(package: &'a Value, name: &str) -> &'a str {
    package
        .get(name)
        .and_then(Value::as_str)
        .unwrap_or_default()
}
