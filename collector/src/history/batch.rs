//! Changes to series before they are durable: joining, and folding when there are too many.
//!
//! Pure: reads what is durable, collects what is to be written.
//!
//! Beyond the bound, in this order and each longest silent first, until enough have gone:
//!
//! 1. ended containers of one workload are folded into its "earlier pods": no number is lost;
//! 2. what never got a name expires;
//! 3. earlier pods, and ended containers that are alone in theirs, expire;
//! 4. what still reports is never touched: instead the containers that this batch would have begun
//!    are turned away, and their windows counted as rejected.

use std::collections::BTreeMap;
use std::sync::Arc;

use plimsoll_wire::Identity;

use super::series::{Series, is_second, key_of, key_of_second};
use super::store::Applied;
use crate::inventory::{Index, IndexReader};
use crate::join::join_told_by;

/// Joined at a time, between which the index may change: 50,000 series take a tenth of a second.
const JOINED_AT_A_TIME: usize = 256;

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

    /// Where a node's windows of that identity go. A pod is on one node, and that which spoke of it first has the
    /// series: another may speak of a pod that the inventory does not know, or no longer, and what it makes up stays
    /// apart.
    pub(super) fn key_for(&self, node: &str, identity: &Identity) -> String {
        let key = key_of(node, identity);
        match self.get(&key) {
            Some(series) if series.node != node => key_of_second(node, &key),
            _ => key,
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

    /// [`rename`](Self::rename) for all of these.
    pub(super) fn rename_all<'k>(
        &mut self,
        mut keys: impl ExactSizeIterator<Item = &'k String>,
        index: &IndexReader,
    ) {
        while keys.len() > 0 {
            let index = index.get();
            for key in keys.by_ref().take(JOINED_AT_A_TIME) {
                self.rename(key, &index);
            }
        }
    }

    /// Joins a container's own series again; what the inventory has forgotten stays as it was, and so does
    /// what it is about to be told anew.
    fn rename(&mut self, key: &str, index: &Index) {
        let Some(series) = self.get(key).filter(|series| series.folded == 0) else {
            return;
        };
        let joined = join_told_by(&series.node, &series.identity, index);
        // Of two that speak of a pod, one is on another node: the second has to be the right one for certain.
        let named_for = joined.names.as_ref().and_then(|of| of.node.as_ref());
        if is_second(key) && named_for != Some(&series.node) {
            return;
        }
        let forgotten = joined.names.is_none() && series.names.is_some();
        let to_be_told = joined.pending && !series.name_pending && series.names.is_some();
        let lost_name = series.names.as_ref().is_some_and(|known| {
            known.container.is_some()
                && joined
                    .names
                    .as_ref()
                    .is_some_and(|now| now.container.is_none())
        });
        if forgotten
            || to_be_told
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
    /// need not do it again. What reports is never touched; see the module for the order of the rest.
    /// `wall_unix_ns` is the time now.
    pub(super) fn shrink(&mut self, max_series: usize, wall_unix_ns: u64, applied: &mut Applied) {
        let mut count = self.keys().count();
        if count <= max_series {
            return;
        }
        let target = max_series - max_series / 10;
        let idle = self.idle(wall_unix_ns);
        let mut last_resort = idle.folded;
        for (_, key, fold_key) in idle.named {
            if count <= target {
                return;
            }
            let there = self.get(&fold_key).is_some();
            // Alone, it would only change its key.
            if !there && idle.of_fold.get(&fold_key).is_none_or(|of| *of < 2) {
                last_resort.push((self.last_unix_ns(&key), key));
                continue;
            }
            let Some(series) = self.get(&key).cloned() else {
                continue;
            };
            self.changed.insert(key, None);
            self.entry(&fold_key, || Series::new(&series.node, &series.identity))
                .fold(&series);
            count -= usize::from(there);
            applied.folded += 1;
            if !there {
                last_resort.push((self.last_unix_ns(&fold_key), fold_key));
            }
        }
        // A fold above may have made one of these younger.
        for (last, key) in &mut last_resort {
            *last = self.last_unix_ns(key);
        }
        last_resort.sort();
        for (_, key) in idle.nameless.into_iter().chain(last_resort) {
            if count <= target {
                return;
            }
            self.changed.insert(key, None);
            count -= 1;
            self.expired += 1;
            applied.expired += 1;
        }
        self.turn_away(count.saturating_sub(max_series), applied);
    }

    /// Takes out what this batch would have begun, `excess` of it: what reports already goes on.
    fn turn_away(&mut self, excess: usize, applied: &mut Applied) {
        let newcomers: Vec<String> = self
            .changed
            .iter()
            .filter(|(key, series)| {
                let own = series.as_ref().is_some_and(|series| series.folded == 0);
                own && !self.base.contains_key(*key)
            })
            .map(|(key, _)| key.clone())
            .rev()
            .take(excess)
            .collect();
        for key in newcomers {
            if let Some(Some(series)) = self.changed.remove(&key) {
                applied.rejected += series.usage.windows;
                applied.applied = applied.applied.saturating_sub(series.usage.windows);
            }
        }
    }

    /// Series with this batch's changes, by key.
    fn keys(&self) -> impl Iterator<Item = &String> {
        let begun = self.changed.iter().filter_map(|(key, series)| {
            let begun = series.is_some() && !self.base.contains_key(key);
            begun.then_some(key)
        });
        let kept = self.base.keys();
        let kept = kept.filter(|key| !matches!(self.changed.get(*key), Some(None)));
        kept.chain(begun)
    }

    fn last_unix_ns(&self, key: &str) -> u64 {
        let series = self.get(key);
        series
            .and_then(|series| series.usage.last_unix_ns)
            .unwrap_or(0)
    }

    /// What may go. The windows' own time decides what reports, so that a backlog counts as what it
    /// was; the wall clock bounds it, so that one node with a clock ahead does not make all others
    /// look silent. What came with this batch reports, however late.
    fn idle(&self, wall_unix_ns: u64) -> Idle {
        let newest = self.keys().map(|key| self.last_unix_ns(key)).max();
        let now_unix_ns = newest.unwrap_or(0).min(wall_unix_ns);
        let mut idle = Idle::default();
        for key in self.keys() {
            let Some(series) = self.get(key) else {
                continue;
            };
            let last = series.usage.last_unix_ns.unwrap_or(0);
            if series.folded > 0 {
                idle.folded.push((last, key.clone()));
                continue;
            }
            let came = self.changed.contains_key(key) && !series.ended;
            if came || series.may_report(now_unix_ns) {
                continue;
            }
            match series.fold_key() {
                Some(fold_key) => {
                    *idle.of_fold.entry(fold_key.clone()).or_default() += 1;
                    idle.named.push((last, key.clone(), fold_key));
                }
                None => idle.nameless.push((last, key.clone())),
            }
        }
        idle.named.sort();
        idle.nameless.sort();
        idle
    }
}

/// Series that report no more, longest silent first.
#[derive(Default)]
struct Idle {
    /// Time of the last window, key, and where it would be folded.
    named: Vec<(u64, String, String)>,
    /// How many of them would be folded into the same.
    of_fold: BTreeMap<String, usize>,
    nameless: Vec<(u64, String)>,
    folded: Vec<(u64, String)>,
}
