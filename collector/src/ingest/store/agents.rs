//! Which agents are silent, put on record.

use std::sync::{MutexGuard, PoisonError};

use plimsoll_journal::Storage;

use super::{Store, StoreError};
use crate::ingest::watch::{Watch, Watched};

impl<S: Storage> Store<S> {
    /// Looks which agents are silent, and puts on record what is new of them; after an error it is kept, and told with
    /// the next call that succeeds. To be called each second. `is_there` says whether a node is, if that is known.
    pub fn tell_agents(
        &self,
        now_unix_ns: u64,
        is_there: impl Fn(&str) -> Option<bool>,
    ) -> Result<(), StoreError> {
        let mut watch = self.lock_watch();
        watch.look(now_unix_ns, is_there);
        let mut notices = watch.take();
        drop(watch);
        if notices.is_empty() {
            return Ok(());
        }
        let told = self.lock().tell_notices(&mut notices, now_unix_ns);
        self.lock_watch().put_back(notices, told.is_ok());
        self.commits.send_modify(|count| *count += 1);
        told
    }

    /// What a node's agent sends was not taken, or it was told to come later: it is not silent for that.
    pub fn excuse(&self, node: &str) {
        self.lock_watch().excuse(node);
    }

    /// How many agents are heard and silent.
    pub fn watched(&self) -> Watched {
        self.lock_watch().books()
    }

    fn lock_watch(&self) -> MutexGuard<'_, Watch> {
        self.watch.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
