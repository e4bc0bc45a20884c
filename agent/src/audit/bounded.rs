//! A table with room for so many: the one longest untouched makes place for a new one.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;

#[derive(Debug)]
pub(super) struct Bounded<K, V> {
    limit: usize,
    rows: HashMap<K, (u64, V)>,
    /// By time of last touch, oldest first.
    order: BTreeMap<u64, K>,
    touches: u64,
}

impl<K: Copy + Eq + Hash, V> Bounded<K, V> {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            limit: limit.max(1),
            rows: HashMap::new(),
            order: BTreeMap::new(),
            touches: 0,
        }
    }

    /// A row, which is the youngest from now on.
    pub(super) fn touch(&mut self, key: K) -> Option<&mut V> {
        let (touched, value) = self.rows.get_mut(&key)?;
        self.order.remove(touched);
        self.touches += 1;
        *touched = self.touches;
        self.order.insert(self.touches, key);
        Some(value)
    }

    pub(super) fn get(&self, key: K) -> Option<&V> {
        self.rows.get(&key).map(|(_, value)| value)
    }

    pub(super) fn get_mut(&mut self, key: K) -> Option<&mut V> {
        self.rows.get_mut(&key).map(|(_, value)| value)
    }

    /// Adds or replaces a row; gives what fell out to make room.
    pub(super) fn insert(&mut self, key: K, value: V) -> Option<V> {
        self.remove(key);
        let oldest = || self.order.first_key_value().map(|(_, key)| *key);
        let fallen = if self.rows.len() >= self.limit {
            oldest().and_then(|key| self.remove(key))
        } else {
            None
        };
        self.touches += 1;
        self.order.insert(self.touches, key);
        self.rows.insert(key, (self.touches, value));
        fallen
    }

    pub(super) fn remove(&mut self, key: K) -> Option<V> {
        let (touched, value) = self.rows.remove(&key)?;
        self.order.remove(&touched);
        Some(value)
    }

    pub(super) fn values(&self) -> impl Iterator<Item = &V> {
        self.rows.values().map(|(_, value)| value)
    }

    pub(super) fn values_mut(&mut self) -> impl Iterator<Item = &mut V> {
        self.rows.values_mut().map(|(_, value)| value)
    }

    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_untouched_falls_out() {
        let mut table = Bounded::new(2);
        assert_eq!(table.insert(1, 'a'), None);
        assert_eq!(table.insert(2, 'b'), None);
        assert_eq!(table.touch(1), Some(&mut 'a'));
        assert_eq!(table.insert(3, 'c'), Some('b'));
        assert_eq!(table.insert(3, 'd'), None, "replaced in its own place");
        assert_eq!((table.len(), table.order.len()), (2, 2));
        assert_eq!(table.remove(1), Some('a'));
        assert_eq!(table.touch(1), None);
        assert_eq!(table.get_mut(3), Some(&mut 'd'));
    }
}
