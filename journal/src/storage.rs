//! The seam to the disk: one folder of files, named without a path.

use std::io;

/// A folder, read. Files are small in number; names are the journal's own.
pub trait Files {
    /// Names of the files, in any order.
    fn list(&self) -> io::Result<Vec<String>>;
    /// Bytes in the file.
    fn len(&self, name: &str) -> io::Result<u64>;
    /// Fills as much of `buf` as the file has from `offset` on; returns how many bytes.
    fn read_at(&self, name: &str, offset: u64, buf: &mut [u8]) -> io::Result<usize>;
}

/// What a journal needs of its folder.
///
/// What was written is durable after [`sync`](Storage::sync) of the file and, for a file that is
/// new or gone, [`sync_dir`](Storage::sync_dir). After a failed `sync` the kernel may have dropped
/// the very pages that failed and will not say so again: the journal leaves such a file alone.
pub trait Storage: Files {
    /// Makes an empty file; an existing one is an error.
    fn create(&mut self, name: &str) -> io::Result<()>;
    /// Writes all of `bytes` at `offset`, lengthening the file where needed.
    fn write_at(&mut self, name: &str, offset: u64, bytes: &[u8]) -> io::Result<()>;
    /// Cuts the file to `len` bytes.
    fn truncate(&mut self, name: &str, len: u64) -> io::Result<()>;
    /// `fdatasync`.
    fn sync(&mut self, name: &str) -> io::Result<()>;
    /// It is not written again soon: what is held for that may go.
    fn done_with(&mut self, _name: &str) {}
    /// `fsync` of the folder.
    fn sync_dir(&mut self) -> io::Result<()>;
    /// Removes the file.
    fn remove(&mut self, name: &str) -> io::Result<()>;
}

/// The whole file, at most `limit` bytes of it.
pub(crate) fn read_file<S: Files>(storage: &S, name: &str, limit: u64) -> io::Result<Vec<u8>> {
    let len = storage.len(name)?.min(limit);
    let mut bytes = vec![0; usize::try_from(len).unwrap_or(usize::MAX)];
    let read = storage.read_at(name, 0, &mut bytes)?;
    bytes.truncate(read);
    Ok(bytes)
}
