//! The renderings are of these sources: sums of both are kept beside them, in the form of `sha256sum`.

use std::fmt::Write as _;
use std::path::Path;

use sha2::{Digest as _, Sha256};

use super::{RENDERED, root};

/// Set by `cargo xtask manifests --write`: write instead of compare.
const WRITE: &str = "PLIMSOLL_WRITE_DOCS";
/// From the folder `daemonset`: `sha256sum -c rendered/SUMS` says the same as this test.
const SUMS: &str = "rendered/SUMS";

/// Files below `daemonset` that a rendering is made of, or is; sorted.
fn files(folder: &Path, below: &str, found: &mut Vec<String>) {
    for entry in std::fs::read_dir(folder.join(below)).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        let path = [below, &name].join(if below.is_empty() { "" } else { "/" });
        if entry.file_type().unwrap().is_dir() {
            files(folder, &path, found);
        } else if ["yaml", "json"].iter().any(|ending| path.ends_with(ending)) {
            found.push(path);
        }
    }
    found.sort_unstable();
}

fn sums() -> String {
    let folder = root().join("daemonset");
    let mut found = Vec::new();
    for below in ["base", "components", "overlays", "examples", "rendered"] {
        files(&folder, below, &mut found);
    }
    let mut text = String::new();
    for path in found {
        for byte in Sha256::digest(std::fs::read(folder.join(&path)).unwrap()) {
            let _infallible = write!(text, "{byte:02x}");
        }
        let _infallible = writeln!(text, "  {path}");
    }
    text
}

#[test]
fn the_renderings_are_of_these_sources() {
    let path = root().join("daemonset").join(SUMS);
    let sums = sums();
    if std::env::var_os(WRITE).is_some() {
        std::fs::write(&path, &sums).unwrap();
        return;
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        found == sums,
        "daemonset/rendered is out of date: run `cargo xtask manifests --write` and read the difference"
    );
}

#[test]
fn every_rendering_is_judged() {
    let mut found = Vec::new();
    files(&root().join("daemonset/rendered"), "", &mut found);
    let mut known = RENDERED.map(|name| format!("{name}.yaml"));
    known.sort_unstable();
    assert_eq!(found, known);
}
