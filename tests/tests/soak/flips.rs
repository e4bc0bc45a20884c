//! Bits that turn over on a disk.

use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

/// Turns one bit over in one of the files below that folder, journals and what lies beside them. The file, if there is
/// one with anything in it.
pub(crate) fn flip(folder: &Path, dice: &mut fastrand::Rng) -> Option<PathBuf> {
    let mut files = Vec::new();
    gather(folder, &mut files);
    files.sort();
    let path = dice.choice(files)?;
    let file = std::fs::File::options()
        .read(true)
        .write(true)
        .open(&path)
        .unwrap();
    let at = dice.u64(..file.metadata().unwrap().len());
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ (1 << dice.u32(..8))], at)
        .unwrap();
    Some(path)
}

fn gather(folder: &Path, files: &mut Vec<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return;
    };
    for entry in entries.flatten() {
        let (path, about) = (entry.path(), entry.metadata().unwrap());
        if about.is_dir() {
            gather(&path, files);
        } else if about.len() > 0 && !path.ends_with("emitter.log") {
            files.push(path);
        }
    }
}
