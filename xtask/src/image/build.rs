//! Compiles the programs of an image: statically, with the list of their crates inside (`cargo auditable`), and so that
//! neither the folder nor the time of the build is in them.
//!
//! Static glibc and not musl, because rustup's targets cannot be had everywhere that crates can, and because it resolves
//! names as every other program on a node does: since 2.34 the services `files` and `dns` of its name service switch are
//! in `libc.a`, so that /etc/hosts, search domains and `ndots` need no shared library. [`super::check`] tries that.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use super::plan::Image;
use super::sources;
use crate::{install, shell};

/// The tool that puts the list of crates into the programs, where scanners of images look for it.
const AUDITABLE: &str = "cargo-auditable@0.7.7";

/// Where and from what it is built.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    /// The sources.
    pub(crate) root: PathBuf,
    /// Cargo's folder.
    pub(crate) target: PathBuf,
    /// The object with the kernel programs.
    pub(crate) object: PathBuf,
}

/// The only target of images: that of this machine. Named to cargo, so that build scripts and procedural macros are
/// not linked statically as well, which they cannot be.
pub(crate) fn target() -> String {
    format!("{}-unknown-linux-gnu", std::env::consts::ARCH)
}

/// Makes sure that `cargo auditable` is there; where it is.
pub(crate) fn tool(root: &Path) -> Result<PathBuf> {
    install::cargo_tool(&root.join("target/tools"), AUDITABLE, "cargo-auditable")
}

/// Compiles; the programs in the image's order.
pub(crate) fn programs(
    image: &Image,
    place: &Place,
    tool: &Path,
    epoch_s: u64,
) -> Result<Vec<Vec<u8>>> {
    let mut moved = vec![(place.root.clone(), "/plimsoll")];
    moved.extend(
        sources::registries()?
            .into_iter()
            .map(|folder| (folder, "/crates")),
    );
    let mut rust = vec!["-Ctarget-feature=+crt-static".to_owned()];
    let mut c = Vec::new();
    for (from, to) in &moved {
        rust.push(format!("--remap-path-prefix={}={to}", from.display()));
        c.push(format!("-ffile-prefix-map={}={to}", from.display()));
    }
    let mut cargo = sources::program(tool, &place.root);
    cargo
        .args([
            "auditable",
            "build",
            "--locked",
            "--profile",
            "dist",
            "--bins",
        ])
        .args([
            "--package",
            image.name,
            "--target",
            &target(),
            "--target-dir",
        ])
        .arg(&place.target)
        .env("CARGO_ENCODED_RUSTFLAGS", rust.join("\u{1f}"))
        .env("CFLAGS", c.join(" "))
        .env("CARGO_INCREMENTAL", "0")
        .env("SOURCE_DATE_EPOCH", epoch_s.to_string())
        .env("PLIMSOLL_EBPF_OBJECT", &place.object);
    shell::run(&mut cargo)?;
    let built = place.target.join(target()).join("dist");
    let read = |name: &&str| sources::read(&built.join(name));
    let programs: Result<Vec<_>> = image.programs.iter().map(read).collect();
    programs.with_context(|| format!("what cargo built of {}", image.name))
}
