#![expect(
    clippy::disallowed_methods,
    reason = "shell: looks where a copy is to be"
)]
//! `plimsoll journal repair`: a copy of what can be read.

use std::fs;
use std::io::Write;
use std::path::Path;

use plimsoll_journal::FileStorage;

use super::super::{CliError, Exit};
use super::{Failed, failed_to_read, found};

/// Writes what can be read of them into a folder that is not there yet, or empty.
pub(super) fn repair(path: &Path, into: &Path, out: &mut dyn Write) -> Result<Exit, CliError> {
    let found = found(path)?;
    if let Some(used) = found.iter().find(|found| found.is_in_use) {
        return Err(CliError::Journal(Failed::InUse {
            path: path.join(&used.name).display().to_string(),
        }));
    }
    check_place(path, into)?;
    let mut exit = Exit::Success;
    for found in &found {
        let folder = into.join(&found.name);
        let mut to = FileStorage::open(&folder).map_err(|source| Failed::Into {
            path: folder.display().to_string(),
            source,
        })?;
        let saved = found.inspected.save(&found.files, &mut to);
        let saved = saved.map_err(|source| Failed::Journal {
            path: folder.display().to_string(),
            source,
        })?;
        let (state, seen) = (found.state(), found.inspected.recovery.records);
        if saved < seen || !found.inspected.is_whole() {
            exit = Exit::Found;
        }
        writeln!(
            out,
            "{}: {saved} of {seen} records saved; it was {state}",
            found.name
        )?;
    }
    Ok(exit)
}

/// A copy lies by itself: what is made of the original is not to be taken for a part of it, nor the other way round.
fn check_place(path: &Path, into: &Path) -> Result<(), Failed> {
    let refused = |why| {
        let path = into.display().to_string();
        Err(Failed::Place { path, why })
    };
    match fs::read_dir(into).map(|mut entries| entries.next()) {
        Ok(Some(_)) => return refused("it is not empty"),
        Ok(None) => {}
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed_to_read(into)(error)),
    }
    // The nearest folder that is there says where it will be.
    let places = into.ancestors().map(|place| {
        let is_here = place.as_os_str().is_empty();
        fs::canonicalize(if is_here { Path::new(".") } else { place })
    });
    let place = places.flatten().next();
    let original = fs::canonicalize(path).map_err(failed_to_read(path))?;
    if place.is_some_and(|place| place.starts_with(&original)) {
        return refused("it lies in what is to be saved, which stays as it is");
    }
    Ok(())
}
