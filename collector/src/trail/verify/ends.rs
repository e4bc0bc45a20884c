//! How epochs join, and how the chain ends: what can be said when all events were given.

use std::collections::{BTreeMap, BTreeSet};

use super::{EpochReport, Kind, Report, SCHEMA, SILENCE_MS, Verifier, apart, short};
use crate::trail::chain::hex;

impl Verifier<'_> {
    /// What it comes to.
    pub fn finish(mut self) -> Report {
        let names: Vec<String> = self.epochs.keys().cloned().collect();
        for name in &names {
            self.catch_up(name, 0);
        }
        let order = self.in_order();
        if !self.expect.loose {
            self.moved(&order);
        }
        for (at, name) in order.iter().enumerate() {
            let before = at.checked_sub(1).and_then(|at| order.get(at));
            self.joint(before.map(String::as_str), name);
        }
        self.first_key(&order);
        self.agents(&order);
        self.ends(&order);
        let epochs = order
            .iter()
            .filter_map(|name| Some((name, self.epochs.get(name)?)))
            .map(|(name, epoch)| EpochReport {
                epoch: name.clone(),
                first_seq: epoch.first,
                last_seq: epoch.last(),
                signed_seq: epoch.signed,
                last_hash: epoch.last_hash.map(|hash| hex(&hash)).unwrap_or_default(),
                first_key: epoch.first_key.map(|key| hex(&key)),
                next_key: epoch.key.map(|key| hex(&key)),
                closed: epoch.closed,
            })
            .collect();
        Report {
            schema: SCHEMA,
            ok: self.found.is_empty(),
            events: self.events,
            duplicates: self.duplicates,
            checkpoints: self.checkpoints,
            probes: self.probes,
            epochs,
            findings_total: self.found.values().sum::<usize>() as u64,
            findings: self.findings,
        }
    }

    /// The epochs, each behind the one that it says was before it; beginnings in the order in which they came.
    fn in_order(&self) -> Vec<String> {
        let mut ranked: Vec<_> = self.epochs.iter().collect();
        ranked.sort_by_key(|(_, epoch)| epoch.rank);
        let mut behind: BTreeMap<&str, Vec<&String>> = BTreeMap::new();
        let mut begin = Vec::new();
        for (name, epoch) in &ranked {
            let opened = epoch.opened.as_ref();
            let previous = opened.and_then(|opened| opened.previous.as_ref());
            match previous.filter(|(before, ..)| self.epochs.contains_key(before)) {
                Some((before, ..)) => behind.entry(before).or_default().push(name),
                None => begin.push(*name),
            }
        }
        // Those that lead back to themselves begin nowhere.
        begin.extend(ranked.iter().map(|(name, _)| *name));
        let (mut order, mut known) = (Vec::new(), BTreeSet::new());
        for name in begin {
            let mut next = vec![name];
            while let Some(name) = next.pop() {
                if known.insert(name) {
                    order.push(name.clone());
                    let after = behind.remove(name.as_str()).unwrap_or_default();
                    next.extend(after.into_iter().rev());
                }
            }
        }
        order
    }

    /// Epochs that came in another order than that of the chain.
    fn moved(&mut self, order: &[String]) {
        let rank = |name: &String| self.epochs.get(name).map_or(0, |epoch| epoch.rank);
        let moved: Vec<String> = order
            .windows(2)
            .filter_map(|pair| match pair {
                [before, after] if rank(after) < rank(before) => Some(after.clone()),
                _ => None,
            })
            .collect();
        for name in moved {
            let detail = "it comes before the epoch that it goes on after".to_owned();
            self.find(Kind::Reorder, &name, (1, 1), None, detail);
        }
    }

    /// How an epoch joins the one before it.
    fn joint(&mut self, before: Option<&str>, name: &str) {
        let Some(epoch) = self.epochs.get(name) else {
            return;
        };
        let (first, opened) = (epoch.first, epoch.opened.clone());
        let Some(opened) = opened else {
            if before.is_some() {
                let detail = "it has no beginning".to_owned();
                self.find(
                    Kind::Gap,
                    name,
                    (1, first.saturating_sub(1).max(1)),
                    None,
                    detail,
                );
            }
            return;
        };
        let Some(before) = before else {
            return;
        };
        let Some((previous, seq, hash)) = &opened.previous else {
            let detail = format!("it begins a chain of its own, and there was {before} before");
            self.find(Kind::Fork, name, (1, 1), None, detail);
            return;
        };
        if previous != before {
            let is_known = self.epochs.contains_key(previous);
            let (kind, detail) = if is_known {
                (
                    Kind::Fork,
                    format!("it goes on after {previous}, as another epoch does"),
                )
            } else {
                (
                    Kind::Gap,
                    format!("the epoch {previous} before it is missing"),
                )
            };
            self.find(kind, name, (1, 1), None, detail);
            return;
        }
        let Some(known) = self.epochs.get(before) else {
            return;
        };
        let (last, last_hash, key, closed, checkpoint_ms) = (
            known.last(),
            known.last_hash,
            known.key,
            known.closed,
            known.checkpoint_ms,
        );
        if last < *seq {
            let detail = format!("{} events are missing at its end", seq - last);
            self.find(Kind::Gap, before, (last + 1, *seq), None, detail);
        } else if last > *seq {
            let detail = format!("it goes on after number {seq}, where {name} begins");
            self.find(Kind::Rollback, before, (seq + 1, last), None, detail);
        } else if last_hash.is_some_and(|last| last != *hash) {
            let detail = format!("its last hash is not what {name} says");
            self.find(Kind::Edit, before, (last, last), None, detail);
        }
        if key.is_some_and(|key| key != opened.key) {
            let detail = format!(
                "it is signed by {}, of which {before} says nothing",
                hex(&opened.key)
            );
            self.find(Kind::Signature, name, (1, 1), None, detail);
        }
        let silent = checkpoint_ms.and_then(|before| apart(before, opened.time_ms));
        // What ended on purpose may rest.
        let rests = closed && checkpoint_ms.is_some_and(|before| opened.time_ms >= before);
        if let Some(detail) = silent.filter(|_| !rests) {
            self.find(Kind::Silence, name, (1, 1), None, detail);
        }
    }

    /// The key of the first checkpoint in the chain, against what is known of it.
    fn first_key(&mut self, order: &[String]) {
        let Some(expected) = self.expect.key else {
            return;
        };
        let first = order
            .iter()
            .find_map(|name| Some((name, self.epochs.get(name)?.first_key?)));
        let (name, detail) = match first {
            Some((_, key)) if key == expected => return,
            Some((name, key)) => (
                name.clone(),
                format!("the first checkpoint is signed by {}", hex(&key)),
            ),
            None => (
                String::new(),
                "no checkpoint is signed by the key that is expected".to_owned(),
            ),
        };
        self.find(Kind::Signature, &name, (0, 0), None, detail);
    }

    /// Agents whose numbers go back.
    fn agents(&mut self, order: &[String]) {
        let mut furthest: BTreeMap<(String, String), u64> = BTreeMap::new();
        for name in order {
            let told = self
                .epochs
                .get_mut(name)
                .map(|epoch| std::mem::take(&mut epoch.agents));
            for (seq, at, agents) in told.unwrap_or_default() {
                for (node, life, number) in agents {
                    let detail = format!("agent of {node}, spool {life}: {number} after");
                    let known = furthest.entry((node, life)).or_default();
                    let before = std::mem::replace(known, number.max(*known));
                    if number < before {
                        let detail = format!("{detail} {before}");
                        self.find(Kind::Rollback, name, (seq, seq), Some(at), detail);
                    }
                }
            }
        }
    }

    /// How the chain ends.
    fn ends(&mut self, order: &[String]) {
        let Some(name) = order.last() else {
            return;
        };
        let Some(epoch) = self.epochs.get(name) else {
            return;
        };
        let (last, signed, closed, checkpoint_ms) = (
            epoch.last(),
            epoch.signed,
            epoch.closed,
            epoch.checkpoint_ms,
        );
        let since = self
            .expect
            .now_ms
            .zip(checkpoint_ms)
            .map(|(now, then)| now.saturating_sub(then));
        // One that is of the future is not fresh: it would be for ever.
        let patience = SILENCE_MS.saturating_add(self.expect.lag_ms);
        let is_fresh = since.is_some_and(|since| (-SILENCE_MS..=patience).contains(&since));
        if last > signed && !is_fresh {
            let detail = format!("{} events after the last checkpoint", last - signed);
            self.find(Kind::UnsignedTail, name, (signed + 1, last), None, detail);
        }
        let is_odd = |since: &i64| !is_fresh && (!closed || *since < 0);
        if let Some(since) = since.filter(|since| !self.expect.may_rest && is_odd(since)) {
            let detail = if since < 0 {
                format!(
                    "the last checkpoint is {} s in the future",
                    since.unsigned_abs() / 1000
                )
            } else {
                format!("no checkpoint since {} s", since / 1000)
            };
            self.find(Kind::Silence, name, (last, last), None, detail);
        }
        for (head_epoch, head_seq, head_hash) in std::mem::take(&mut self.expect.heads) {
            let known = self.epochs.get(&head_epoch);
            let has = known.and_then(|epoch| epoch.seen(head_seq)).copied();
            match has {
                Some(hash) if hash == short(&head_hash) => {}
                Some(_) => {
                    let detail = "it is not the link that was to be here".to_owned();
                    self.find(Kind::Fork, &head_epoch, (head_seq, head_seq), None, detail);
                }
                None => {
                    let from = known.map_or(1, |epoch| epoch.next).min(head_seq);
                    let detail = "the chain had got further than this".to_owned();
                    self.find(Kind::Rollback, &head_epoch, (from, head_seq), None, detail);
                }
            }
        }
    }
}
