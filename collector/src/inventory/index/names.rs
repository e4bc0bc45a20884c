//! Strings that many objects share, each kept once: namespaces, nodes, owners, labels.

use std::collections::HashSet;
use std::hash::BuildHasher as _;
use std::num::NonZeroU64;
use std::sync::Arc;

/// Fewest strings at which a sweep is worth its time.
const SWEEP_AT_LEAST: usize = 1024;

/// See the module.
#[derive(Clone, Debug, Default)]
pub(super) struct Names {
    known: HashSet<Arc<str>>,
    /// Strings that the last sweep left.
    left: usize,
}

impl Names {
    /// The one that is kept of this text.
    pub(super) fn intern(&mut self, text: &str) -> Arc<str> {
        if let Some(known) = self.known.get(text) {
            return Arc::clone(known);
        }
        if self.known.len() >= SWEEP_AT_LEAST.max(2 * self.left) {
            self.sweep();
        }
        let new: Arc<str> = text.into();
        self.known.insert(Arc::clone(&new));
        new
    }

    /// What stands for a UID where only sameness matters: nobody outside can make two the same. `None` of an
    /// empty one.
    pub(super) fn hash(&self, uid: &str) -> Option<NonZeroU64> {
        let hash = NonZeroU64::new(self.known.hasher().hash_one(uid));
        hash.filter(|_| !uid.is_empty())
    }

    /// Forgets what nobody else holds; each doubling pays for one.
    fn sweep(&mut self) {
        self.known.retain(|text| Arc::strong_count(text) > 1);
        self.left = self.known.len();
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.known.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_kept_once_and_not_for_longer_than_it_is_held() {
        let mut names = Names::default();
        let (one, same) = (names.intern("shop"), names.intern("shop"));
        assert!(Arc::ptr_eq(&one, &same));
        for n in 0..10 * SWEEP_AT_LEAST {
            names.intern(&n.to_string());
        }
        assert!(names.len() <= SWEEP_AT_LEAST, "{}", names.len());
        assert!(Arc::ptr_eq(&one, &names.intern("shop")));
    }
}
