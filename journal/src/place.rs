#![expect(
    clippy::disallowed_methods,
    reason = "shell: looks at where a journal's folder is or would be"
)]
//! Whether a folder can be written to, asked before anything is made or touched there.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::Path;

use rustix::fs::{Mode, OFlags};

/// File systems of the kernel's own that take no files, by their magic numbers (`statfs(2)`): procfs,
/// sysfs, cgroup v1 and v2.
const NOT_FOR_FILES: [i128; 4] = [0x9fa0, 0x6265_6572, 0x0027_e0eb, 0x6367_7270];

/// Asks of a folder, or of where it would be made, whether files can be made there, and of the files
/// in it and in the folders `within` it, whether they can be read and written. Makes and changes
/// nothing. A disk that is full or broken is no reason: it may be better soon.
///
/// # Errors
/// What stands in the way, and where.
pub fn check_folder(folder: &Path, within: &[&str]) -> Result<(), String> {
    let place = folder
        .ancestors()
        .map(|place| {
            if place == Path::new("") {
                Path::new(".")
            } else {
                place
            }
        })
        .find(|place| !is_absent(place))
        .unwrap_or(folder);
    let failed = |error: io::Error| format!("{}: {error}", place.display());
    if !fs::metadata(place).map_err(failed)?.is_dir() {
        return Err(format!("{} is none", place.display()));
    }
    let kind = i128::from(
        rustix::fs::statfs(place)
            .map_err(|errno| failed(errno.into()))?
            .f_type,
    );
    if NOT_FOR_FILES.contains(&kind) {
        return Err(format!(
            "{} is the kernel's own and takes no files",
            place.display()
        ));
    }
    takes_files(place)?;
    if place == folder {
        for name in within {
            let inner = folder.join(name);
            if !is_absent(&inner) {
                takes_files(&inner)?;
                files_are_ours(&inner)?;
            }
        }
    }
    Ok(())
}

fn is_absent(path: &Path) -> bool {
    let error = fs::metadata(path).err();
    error
        .is_some_and(|error| matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory))
}

/// By a file without a name, which goes when it is closed. Where a file system knows none, nobody can
/// tell without making one.
fn takes_files(folder: &Path) -> Result<(), String> {
    let flags = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
    let made = rustix::fs::open(folder, flags, Mode::RUSR | Mode::WUSR);
    told(folder, made.map(drop).map_err(io::Error::from))?;
    told(folder, fs::read_dir(folder).map(drop))
}

fn files_are_ours(folder: &Path) -> Result<(), String> {
    // A folder that cannot be listed any more is told by whoever opens it.
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    for path in entries.map(|entry| entry.path()) {
        if fs::metadata(&path).is_ok_and(|found| found.is_file()) {
            told(
                &path,
                File::options().read(true).write(true).open(&path).map(drop),
            )?;
        }
    }
    Ok(())
}

/// Of all failures only the ones that stay.
fn told(path: &Path, outcome: io::Result<()>) -> Result<(), String> {
    match outcome {
        Err(error)
            if matches!(
                error.kind(),
                ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem
            ) =>
        {
            Err(format!("{}: {error}", path.display()))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_be_no_folder_of_files_is_told_and_nothing_is_made() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::write(at("file"), "").unwrap();
        fs::create_dir_all(at("spool/usage")).unwrap();
        fs::write(at("spool/usage/1"), "").unwrap();
        for path in [at("new"), at("new/deep"), at("spool")] {
            assert_eq!(check_folder(&path, &["usage", "security"]), Ok(()));
        }
        for path in [at("file"), at("file/deep")] {
            let why = format!("{} is none", at("file").display());
            assert_eq!(check_folder(&path, &[]), Err(why));
        }
        let why = "/proc is the kernel's own and takes no files";
        assert_eq!(check_folder(Path::new("/proc/x"), &[]), Err(why.to_owned()));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
        assert_eq!(fs::read_dir(at("spool/usage")).unwrap().count(), 1);
    }
}
