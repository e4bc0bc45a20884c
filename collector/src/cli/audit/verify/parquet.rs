#![expect(
    clippy::disallowed_methods,
    reason = "shell: reads objects of Security Lake"
)]
//! Objects of a sink to Security Lake: files of Parquet, in folders by class and day.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use super::VerifyError;
use crate::sinks::lake::read::raw_data;

/// Whether a file is one.
pub(super) fn is_object(path: &Path) -> bool {
    path.extension() == Some(OsStr::new("parquet"))
}

/// Those in a folder, at any depth, in the order of their names: these begin with the epoch and the first number, so
/// that those of one window are together, whatever their classes. Links to folders are not followed.
pub(super) fn objects(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let (mut found, mut folders) = (Vec::new(), vec![folder.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                folders.push(entry.path());
            } else if is_object(&entry.path()) {
                found.push(entry.path());
            }
        }
    }
    found.sort_by(|a, b| (a.file_name(), a).cmp(&(b.file_name(), b)));
    Ok(found)
}

/// Gives each event with the number of its row.
pub(super) fn read(path: &Path, mut each: impl FnMut(u64, &[u8])) -> Result<(), VerifyError> {
    let file = File::open(path).map_err(|source| VerifyError::Read {
        path: path.display().to_string(),
        source,
    })?;
    let read = raw_data(file, |row, text| {
        each(row, text);
        ControlFlow::Continue(())
    });
    read.map_err(|source| VerifyError::Parquet {
        path: path.display().to_string(),
        source: Box::new(source),
    })
}
