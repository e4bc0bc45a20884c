#![expect(
    clippy::disallowed_methods,
    reason = "shell: keeps the texts of a window and an object in files without a name"
)]
//! Files for what is too much for the memory. They have no name: with the process they are gone, and what was in them
//! is read again from the trail.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use plimsoll_journal::make_folder;

/// A file of that folder that nobody else sees.
///
/// # Errors
/// The disk refuses.
pub fn nameless(folder: &Path, name: &str) -> io::Result<File> {
    make_folder(folder)?;
    let path = folder.join(name);
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&path)?;
    std::fs::remove_file(&path)?;
    Ok(file)
}

/// Texts, one after the other.
#[derive(Debug)]
pub struct Spool {
    file: BufWriter<File>,
}

impl Spool {
    /// None yet.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn new(folder: &Path, name: &str) -> io::Result<Self> {
        let file = BufWriter::with_capacity(1 << 20, nameless(folder, name)?);
        Ok(Self { file })
    }

    /// Adds one.
    ///
    /// # Errors
    /// The disk refuses: the file is not to be used any more.
    pub fn push(&mut self, text: &str) -> io::Result<()> {
        self.file.write_all(text.as_bytes())
    }

    /// The text with so many bytes from there on.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn read(&mut self, offset: u64, len: usize) -> io::Result<String> {
        self.file.flush()?;
        let mut bytes = vec![0; len];
        self.file.get_ref().read_exact_at(&mut bytes, offset)?;
        String::from_utf8(bytes).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
    }
}
