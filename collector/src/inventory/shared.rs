//! The index as its writer and its readers share it.

use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::index::Index;

/// Reads the present index; cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct IndexReader(Arc<RwLock<Index>>);

impl IndexReader {
    /// An index that never changes, for tests and pictures.
    pub fn fixed(index: Index) -> Self {
        Self(Arc::new(RwLock::new(index)))
    }

    /// The index as it is now. It stays so until this is dropped, and whoever changes it waits.
    pub fn get(&self) -> RwLockReadGuard<'_, Index> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The only one who changes the index.
#[derive(Debug, Default)]
pub struct IndexWriter(Arc<RwLock<Index>>);

impl IndexWriter {
    /// A reader of what is written.
    pub fn reader(&self) -> IndexReader {
        IndexReader(Arc::clone(&self.0))
    }

    /// The index, to be changed. Readers wait.
    pub fn write(&mut self) -> RwLockWriteGuard<'_, Index> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}
