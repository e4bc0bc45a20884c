#![expect(
    clippy::disallowed_methods,
    reason = "shell: copies the sources to another folder"
)]
//! Whether another build makes the same: the sources copied to another folder, compiled there with another target
//! folder, and each program, bill of materials and digest compared.

use std::path::Path;

use anyhow::{Context as _, Result, bail};

use super::{Built, all, place, remove, sources};
use crate::shell;

/// Longer than the folder of the first build, so that a path of either shifts what follows it.
const ELSEWHERE: &str = "target/image/again/in-a-folder-of-another-length";

/// Builds again, on what a comparison before this one has left if it did not end well.
///
/// # Errors
/// The second build is another, or cannot be made.
pub(crate) fn run(root: &Path, tool: &Path, first: &[Built]) -> Result<()> {
    let elsewhere = root.join(ELSEWHERE);
    for name in sources::tracked()? {
        copy(&root.join(&name), &elsewhere.join(&name))?;
    }
    let second = all(&place(root, &elsewhere, &elsewhere.join("built"))?, tool)?;
    let mut different = Vec::new();
    for (one, other) in first.iter().zip(&second) {
        let programs = one
            .image
            .programs
            .iter()
            .zip(one.programs.iter().zip(&other.programs));
        for (name, (a, b)) in programs {
            if let Some(at) = a.iter().zip(b).position(|(a, b)| a != b) {
                let sizes = format!("{} and {} bytes", a.len(), b.len());
                different.push(format!("/{name} from byte {at} on, of {sizes}"));
            }
        }
        if one.bom != other.bom {
            different.push(format!("the bill of materials of {}", one.image.name));
        }
        if one.layout.digest != other.layout.digest {
            different.push(format!(
                "{}: {} and {}",
                one.image.name, one.layout.digest, other.layout.digest
            ));
        }
    }
    if different.is_empty() {
        remove(&root.join("target/image/again"))?;
        shell::print("the same in another folder");
        return Ok(());
    }
    bail!("not the same in {ELSEWHERE}: {}", different.join("; "))
}

/// Copies a file if it is another, so that cargo compiles nothing for its time alone.
fn copy(from: &Path, to: &Path) -> Result<()> {
    // Deleted, and not yet committed so.
    if !from.is_file() {
        return remove_file(to);
    }
    let bytes = sources::read(from)?;
    if std::fs::read(to).is_ok_and(|there| there == bytes) {
        return Ok(());
    }
    if let Some(folder) = to.parent() {
        std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    }
    std::fs::write(to, bytes).with_context(|| format!("writing {}", to.display()))
}

fn remove_file(path: &Path) -> Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("removing {}", path.display()))
        }
        _ => Ok(()),
    }
}
