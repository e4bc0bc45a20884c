//! Changes to series before they are durable: joining, and folding when there are too many.
//!
//! Pure: reads what is durable, collects what is to be written.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::series::Series;
use super::store::Applied;
use crate::inventory::Index;
use crate::join::join;

/// A series and its encoded size.
#[derive(Clone)]
pub(super) struct Stored {
    pub(super) series: Arc<Series>,
    pub(super) bytes: u64,
}

/// Changes on top of what is durable. `None` is removed.
pub(super) struct Batch<'a> {
    base: &'a BTreeMap<String, Stored>,
    changed: BTreeMap<String, Option<Series>>,
    expired: u64,
}

/// What a batch came to; `None` is removed.
pub(super) struct Changes {
    pub(super) series: BTreeMap<String, Option<Series>>,
    pub(super) cursor: u64,
    pub(super) expired: u64,
}

impl<'a> Batch<'a> {
    pub(super) const fn new(base: &'a BTreeMap<String, Stored>, expired: u64) -> Self {
        Self {
            base,
            changed: BTreeMap::new(),
            expired,
        }
    }

    pub(super) fn changes(self, cursor: u64) -> Changes {
        Changes {
            series: self.changed,
            cursor,
            expired: self.expired,
        }
    }

    pub(super) fn changed_keys(&self) -> Vec<String> {
        self.changed.keys().cloned().collect()
    }

    fn get(&self, key: &str) -> Option<&Series> {
        match self.changed.get(key) {
            Some(changed) => changed.as_ref(),
            None => self.base.get(key).map(|stored| stored.series.as_ref()),
        }
    }

    pub(super) fn entry(&mut self, key: &str, new: impl FnOnce() -> Series) -> &mut Series {
        let current = self.base.get(key);
        let slot = self
            .changed
            .entry(key.to_owned())
            .or_insert_with(|| current.map(|stored| (*stored.series).clone()));
        slot.get_or_insert_with(new)
    }

    /// Joins a container's own series again; what the inventory has forgotten stays as it was.
    pub(super) fn rename(&mut self, key: &str, index: &Index) {
        let Some(series) = self.get(key).filter(|series| series.folded == 0) else {
            return;
        };
        let joined = join(&series.identity, index);
        let forgotten = joined.names.is_none() && series.names.is_some();
        let lost_name = series.names.as_ref().is_some_and(|known| {
            known.container.is_some()
                && joined
                    .names
                    .as_ref()
                    .is_some_and(|now| now.container.is_none())
        });
        if forgotten
            || lost_name
            || (joined.names == series.names && joined.pending == series.name_pending)
        {
            return;
        }
        let identity = series.identity.clone();
        let node = series.node.clone();
        let series = self.entry(key, || Series::new(&node, &identity));
        series.names = joined.names;
        series.name_pending = joined.pending;
    }

    /// Brings the number of series back under its bound, a tenth below it, so that the next batch
    /// need not do it again.
    pub(super) fn shrink(&mut self, max_series: usize, applied: &mut Applied) {
        let added = self
            .changed
            .keys()
            .filter(|key| !self.base.contains_key(*key))
            .count();
        let mut count = self.base.len() + added;
        if count <= max_series {
            return;
        }
        let target = max_series - max_series / 10;
        // Named and ended first, then by age: what is folded keeps its numbers, what expires does not.
        let mut order: Vec<(bool, bool, u64, String)> = self
            .base
            .keys()
            .chain(
                self.changed
                    .keys()
                    .filter(|key| !self.base.contains_key(*key)),
            )
            .filter_map(|key| {
                let series = self.get(key).filter(|series| series.folded == 0)?;
                let last = series.usage.last_unix_ns.unwrap_or(0);
                Some((
                    series.fold_key().is_none(),
                    !series.ended,
                    last,
                    key.clone(),
                ))
            })
            .collect();
        order.sort();
        for (_, _, _, key) in order {
            if count <= target {
                return;
            }
            let Some(series) = self.get(&key).cloned() else {
                continue;
            };
            self.changed.insert(key, None);
            count -= 1;
            if let Some(fold_key) = series.fold_key() {
                count += usize::from(self.get(&fold_key).is_none());
                self.entry(&fold_key, || Series::new(&series.node, &series.identity))
                    .fold(&series);
                applied.folded += 1;
            } else {
                self.expired += 1;
                applied.expired += 1;
            }
        }
    }
}
