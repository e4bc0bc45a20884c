//! Whether a chain of audit events is whole: what was altered, taken out, put in, moved, sent twice or kept back shows.
//!
//! Events are given one by one as they were delivered; what was said of them is compared, nothing is believed that a
//! signature does not reach. What it cannot see is said in docs/security.md: what lies before the first event that is
//! given, and the end of a chain after its last checkpoint, unless the caller knows where it should be.
//!
//! Pure.

mod checkpoint;

use std::collections::BTreeMap;

use serde::Serialize;

use super::chain::{self, Hash, Link, hex};
use checkpoint::{Agents, Said, is_signed};

/// `schema` of a report.
pub const SCHEMA: &str = "plimsoll.audit.verify/v1";
/// Between two checkpoints there is no more time than this, milliseconds: two that did not come are a silence.
pub const SILENCE_MS: i64 = 30_000;
/// Events that may be ahead of one that is missing before it counts as gone.
const AHEAD: usize = 100_000;
/// Findings that are named; more are counted.
const NAMED: usize = 10_000;

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// An event is not what its hash says, or its hash not what the next one says.
    Edit,
    /// Numbers are missing.
    Gap,
    /// An event comes after one that is behind it.
    Reorder,
    /// An event comes again.
    Replay,
    /// Two events have one place.
    Fork,
    /// It is no link of a chain.
    Insertion,
    /// A checkpoint's signature is missing or not that of the key that should sign it.
    Signature,
    /// Numbers go back: of an agent, or of an epoch that goes on after the next one began.
    Rollback,
    /// There was no checkpoint for longer than there may be.
    Silence,
    /// Events after the last checkpoint: nothing vouches for them.
    UnsignedTail,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What.
    pub kind: Kind,
    /// In which epoch; empty where none can be told.
    pub epoch: String,
    /// The first number concerned.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seq: Option<u64>,
    /// The last, where there are more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_seq: Option<u64>,
    /// Where the event was given, as the caller says it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<String>,
    /// In words.
    pub detail: String,
}

/// What the caller knows, and how events come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Expect {
    /// They come from where each is delivered at least once and in no order: identical ones are no replay, and their
    /// order is nothing.
    pub loose: bool,
    /// The key that signs the first checkpoint, from elsewhere.
    pub key: Option<[u8; 32]>,
    /// The link that the chain must have got to, from elsewhere: epoch, number, hash.
    pub head: Option<(String, u64, Hash)>,
    /// What time it is, Unix milliseconds, if the chain should be going on: then its end is a silence or not yet signed.
    pub now_ms: Option<i64>,
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// [`SCHEMA`].
    pub schema: &'static str,
    /// Nothing is wrong.
    pub ok: bool,
    /// Events given.
    pub events: u64,
    /// Of which came again, identical, where that may be.
    pub duplicates: u64,
    /// Checkpoints with a right signature.
    pub checkpoints: u64,
    /// In the order of the chain.
    pub epochs: Vec<EpochReport>,
    /// All findings.
    pub findings_total: u64,
    /// The first of them.
    pub findings: Vec<Finding>,
}

/// What was found of one life of the collector.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct EpochReport {
    /// Its name.
    pub epoch: String,
    /// The first number given.
    pub first_seq: u64,
    /// The last number given.
    pub last_seq: u64,
    /// The last number that a signature vouches for.
    pub signed_seq: u64,
    /// Hash of the last.
    pub last_hash: String,
    /// The first key that signs in it, hex.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_key: Option<String>,
    /// The key that signs next, hex.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_key: Option<String>,
    /// It ended on purpose.
    pub closed: bool,
}

/// An event that was given, as far as it is kept.
#[derive(Clone, Debug)]
struct Given {
    prev: Hash,
    hash: Hash,
    is_whole: bool,
    said: Option<Box<Said>>,
    at: Place,
}

/// Where an event was given: a number that the caller's `at` makes a text of, only if it is needed.
type Place = u64;

#[derive(Debug, Default)]
struct Epoch {
    /// In their order, without holes: the first 16 bytes of each hash.
    seen: Vec<[u8; 16]>,
    first: u64,
    /// `first` is known: nothing before it is to come.
    is_begun: bool,
    last_hash: Hash,
    signed: u64,
    first_key: Option<[u8; 32]>,
    key: Option<[u8; 32]>,
    opened: Option<Box<Said>>,
    closed: bool,
    /// Of the last checkpoint, Unix milliseconds.
    checkpoint_ms: Option<i64>,
    /// What its checkpoints say of agents, each with its number and place.
    agents: Vec<(u64, Place, Agents)>,
    ahead: BTreeMap<u64, Given>,
    /// Holes in `seen`: a hash of zeros stands for each number in them.
    holes: u64,
    /// In which order they came.
    rank: u64,
}

impl Epoch {
    const fn next(&self) -> u64 {
        self.first + self.seen.len() as u64
    }

    fn seen(&self, seq: u64) -> Option<&[u8; 16]> {
        let at = usize::try_from(seq.checked_sub(self.first)?).ok()?;
        self.seen.get(at).filter(|hash| **hash != [0; 16])
    }

    fn last(&self) -> u64 {
        self.next().saturating_sub(1)
    }
}

/// See the module.
pub struct Verifier<'a> {
    expect: Expect,
    place: &'a dyn Fn(Place) -> String,
    epochs: BTreeMap<String, Epoch>,
    events: u64,
    duplicates: u64,
    checkpoints: u64,
    found: u64,
    findings: Vec<Finding>,
}

impl std::fmt::Debug for Verifier<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Verifier").finish_non_exhaustive()
    }
}

impl<'a> Verifier<'a> {
    /// `place` says in words where an event was given, by the number that [`add`](Self::add) was told.
    pub fn new(expect: Expect, place: &'a dyn Fn(u64) -> String) -> Self {
        Self {
            expect,
            place,
            epochs: BTreeMap::new(),
            events: 0,
            duplicates: 0,
            checkpoints: 0,
            found: 0,
            findings: Vec::new(),
        }
    }

    fn find(
        &mut self,
        kind: Kind,
        epoch: &str,
        seqs: (u64, u64),
        at: Option<Place>,
        detail: String,
    ) {
        self.found += 1;
        if self.findings.len() < NAMED {
            let (first, last) = seqs;
            self.findings.push(Finding {
                kind,
                epoch: epoch.to_owned(),
                seq: (first > 0).then_some(first),
                last_seq: (last > first).then_some(last),
                at: at.map(self.place),
                detail,
            });
        }
    }

    /// One event, as it was delivered: its canonical JSON, or other JSON that means the same.
    pub fn add(&mut self, text: &[u8], at: u64) {
        self.events += 1;
        let found = match chain::link(text) {
            Ok(link) => Ok((link, None)),
            Err(why) => again(text)
                .map(|(link, canonical)| (link, Some(canonical)))
                .ok_or(why),
        };
        let (link, canonical) = match found {
            Ok(found) => found,
            Err(why) => {
                self.find(Kind::Insertion, "", (0, 0), Some(at), why.to_string());
                return;
            }
        };
        if !link.is_whole() {
            let detail = format!(
                "its hash is {} and should be {}",
                hex(&link.digest),
                hex(&link.hash)
            );
            self.find(
                Kind::Edit,
                &link.epoch,
                (link.seq, link.seq),
                Some(at),
                detail,
            );
        }
        let text = canonical
            .as_ref()
            .map_or(text, |canonical| canonical.as_bytes());
        let said = match Said::of(text, &link) {
            Ok(said) => said.map(Box::new),
            Err(why) => {
                self.find(
                    Kind::Signature,
                    &link.epoch,
                    (link.seq, link.seq),
                    Some(at),
                    why,
                );
                None
            }
        };
        self.take(link, said, at);
    }

    fn take(&mut self, link: Link, said: Option<Box<Said>>, at: Place) {
        let rank = self.epochs.len() as u64;
        let epoch = self.epochs.entry(link.epoch.clone()).or_default();
        let is_new = epoch.seen.is_empty() && epoch.ahead.is_empty();
        if is_new {
            epoch.first = link.seq;
            // In no order, there may be some before it, unless it is the first of all.
            epoch.is_begun = !self.expect.loose || link.seq == 1;
            epoch.rank = rank;
        } else if !epoch.is_begun && link.seq <= epoch.first {
            (epoch.first, epoch.is_begun) = (link.seq, link.seq == 1);
        }
        let all = rank + u64::from(is_new);
        let given = Given {
            prev: link.prev,
            hash: link.hash,
            is_whole: link.is_whole(),
            said,
            at,
        };
        let next = epoch.next();
        let (name, seq) = (link.epoch, link.seq);
        let ahead = epoch.ahead.first_key_value().map(|(ahead, _)| *ahead);
        let is_current = epoch.rank + 1 == all;
        if seq == next && epoch.is_begun {
            if !self.expect.loose
                && let Some(ahead) = ahead
            {
                let detail = format!("it comes after number {ahead}");
                self.find(Kind::Reorder, &name, (seq, seq), Some(at), detail);
            } else if !self.expect.loose && !is_current {
                let detail = "it comes after an event of a later epoch".to_owned();
                self.find(Kind::Reorder, &name, (seq, seq), Some(at), detail);
            }
            self.next(&name, seq, given);
            self.catch_up(&name, AHEAD);
            return;
        }
        let before = epoch
            .seen(seq)
            .copied()
            .or_else(|| epoch.ahead.get(&seq).map(|known| short(&known.hash)));
        match before {
            Some(known) if known == short(&given.hash) && given.is_whole => {
                self.came_again(&name, seq, at);
            }
            Some(_) if !given.is_whole => {}
            Some(_) => {
                let detail = "another event has this place as well".to_owned();
                self.find(Kind::Fork, &name, (seq, seq), Some(at), detail);
            }
            None if seq > next || !epoch.is_begun => {
                epoch.ahead.insert(seq, given);
                self.catch_up(&name, AHEAD);
            }
            // Given up as missing, or before the first.
            None => {
                if !self.expect.loose {
                    let detail = format!("it comes after number {}", next - 1);
                    self.find(Kind::Reorder, &name, (seq, seq), Some(at), detail);
                }
            }
        }
    }

    fn came_again(&mut self, epoch: &str, seq: u64, at: Place) {
        if self.expect.loose {
            self.duplicates += 1;
        } else {
            let detail = "it was there before".to_owned();
            self.find(Kind::Replay, epoch, (seq, seq), Some(at), detail);
        }
    }

    /// Takes in what was ahead and is next now; and behind a hole if there are more than `most` ahead.
    fn catch_up(&mut self, name: &str, most: usize) {
        loop {
            let Some(epoch) = self.epochs.get_mut(name) else {
                return;
            };
            let next = epoch.next();
            let Some((seq, _)) = epoch.ahead.first_key_value() else {
                return;
            };
            let seq = *seq;
            if !epoch.is_begun || seq > next {
                if epoch.ahead.len() <= most {
                    return;
                }
                epoch.is_begun = true;
                if seq > next {
                    self.gap(name, next, seq - 1);
                }
            }
            let Some(given) = self
                .epochs
                .get_mut(name)
                .and_then(|epoch| epoch.ahead.remove(&seq))
            else {
                return;
            };
            self.next(name, seq, given);
        }
    }

    fn gap(&mut self, name: &str, first: u64, last: u64) {
        let detail = format!("{} events are missing", last - first + 1);
        self.find(Kind::Gap, name, (first, last), None, detail);
        if let Some(epoch) = self.epochs.get_mut(name) {
            // What is behind a long hole is a beginning of its own: nothing is kept for each number of it.
            if last - first < 1 << 20 {
                let len = epoch.seen.len() + usize::try_from(last - first + 1).unwrap_or(0);
                epoch.seen.resize(len, [0; 16]);
            } else {
                epoch.seen.clear();
                epoch.first = last + 1;
            }
            epoch.holes += last - first + 1;
            epoch.last_hash = [0; 32];
        }
    }

    /// The next in its epoch.
    fn next(&mut self, name: &str, seq: u64, given: Given) {
        let Some(epoch) = self.epochs.get_mut(name) else {
            return;
        };
        let breaks =
            !epoch.seen.is_empty() && epoch.last_hash != [0; 32] && epoch.last_hash != given.prev;
        if breaks {
            let detail = format!("its hash is not what number {seq} says");
            self.find(Kind::Edit, name, (seq - 1, seq - 1), Some(given.at), detail);
        }
        if let Some(epoch) = self.epochs.get_mut(name) {
            epoch.seen.push(short(&given.hash));
            epoch.last_hash = given.hash;
        }
        if let Some(said) = given.said {
            self.checkpoint(name, seq, &given.hash, *said, given.at);
        }
    }

    fn checkpoint(&mut self, name: &str, seq: u64, hash: &Hash, said: Said, at: Place) {
        let Some(epoch) = self.epochs.get(name) else {
            return;
        };
        // That of an epoch's first is looked at when all are known: the epoch before says it.
        if let (Some(key), false) = (epoch.key, said.is_open)
            && said.key != key
        {
            let detail = format!(
                "it is signed by {} and should be by {}",
                hex(&said.key),
                hex(&key)
            );
            self.find(Kind::Signature, name, (seq, seq), Some(at), detail);
            return;
        }
        if !is_signed(&said, name, seq, hash) {
            let detail = format!("its signature is not of the key {}", hex(&said.key));
            self.find(Kind::Signature, name, (seq, seq), Some(at), detail);
            return;
        }
        self.checkpoints += 1;
        let silence = epoch
            .checkpoint_ms
            .map(|before| said.time_ms - before)
            .filter(|apart| *apart > SILENCE_MS);
        if let Some(apart) = silence {
            let detail = format!("{} s without a checkpoint before it", apart / 1000);
            self.find(Kind::Silence, name, (seq, seq), Some(at), detail);
        }
        if let Some(epoch) = self.epochs.get_mut(name) {
            epoch.first_key.get_or_insert(said.key);
            epoch.key = Some(said.next_key.unwrap_or(said.key));
            epoch.signed = seq;
            epoch.checkpoint_ms = Some(said.time_ms);
            epoch.closed = said.is_close;
            if !said.agents.is_empty() {
                epoch.agents.push((seq, at, said.agents.clone()));
            }
            if said.is_open {
                epoch.opened = Some(Box::new(said));
            }
        }
    }

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
                last_hash: hex(&epoch.last_hash),
                first_key: epoch.first_key.map(|key| hex(&key)),
                next_key: epoch.key.map(|key| hex(&key)),
                closed: epoch.closed,
            })
            .collect();
        Report {
            schema: SCHEMA,
            ok: self.found == 0,
            events: self.events,
            duplicates: self.duplicates,
            checkpoints: self.checkpoints,
            epochs,
            findings_total: self.found,
            findings: self.findings,
        }
    }

    /// The epochs, each behind the one that it says was before it; beginnings in the order in which they came.
    fn in_order(&self) -> Vec<String> {
        let mut left: Vec<_> = self.epochs.iter().collect();
        left.sort_by_key(|(_, epoch)| epoch.rank);
        let previous = |epoch: &Epoch| {
            let opened = epoch.opened.as_ref()?;
            Some(opened.previous.as_ref()?.0.clone())
        };
        let mut order: Vec<String> = Vec::new();
        while !left.is_empty() {
            let is_next = |(_, epoch): &(&String, &Epoch)| match (previous(epoch), order.last()) {
                (Some(before), Some(last)) => before == *last,
                _ => false,
            };
            let is_free = |(_, epoch): &(&String, &Epoch)| {
                previous(epoch).is_none_or(|before| !left.iter().any(|(name, _)| **name == before))
            };
            let at = left
                .iter()
                .position(is_next)
                .or_else(|| left.iter().position(is_free))
                .unwrap_or(0);
            order.push(left.remove(at).0.clone());
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
            if self.expect.key.is_some_and(|key| key != opened.key) {
                let detail = format!("the chain begins with the key {}", hex(&opened.key));
                self.find(Kind::Signature, name, (1, 1), None, detail);
            }
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
        } else if last_hash != *hash {
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
        let apart = checkpoint_ms.map(|before| opened.time_ms - before);
        if let Some(apart) = apart.filter(|apart| *apart > SILENCE_MS && !closed) {
            let detail = format!("{} s without a checkpoint before it", apart / 1000);
            self.find(Kind::Silence, name, (1, 1), None, detail);
        }
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
            .map(|(now, then)| now - then);
        let is_fresh = since.is_some_and(|since| since <= SILENCE_MS);
        if last > signed && !is_fresh {
            let detail = format!("{} events after the last checkpoint", last - signed);
            self.find(Kind::UnsignedTail, name, (signed + 1, last), None, detail);
        }
        if let Some(since) = since.filter(|since| *since > SILENCE_MS && !closed) {
            let detail = format!("no checkpoint since {} s", since / 1000);
            self.find(Kind::Silence, name, (last, last), None, detail);
        }
        if let Some((head_epoch, head_seq, head_hash)) = self.expect.head.clone() {
            let known = self.epochs.get(&head_epoch);
            let has = known.and_then(|epoch| epoch.seen(head_seq)).copied();
            match has {
                Some(hash) if hash == short(&head_hash) => {}
                Some(_) => {
                    let detail = "it is not the link that was to be here".to_owned();
                    self.find(Kind::Fork, &head_epoch, (head_seq, head_seq), None, detail);
                }
                None => {
                    let from = known.map_or(1, |epoch| epoch.last() + 1).min(head_seq);
                    let detail = "the chain had got further than this".to_owned();
                    self.find(Kind::Rollback, &head_epoch, (from, head_seq), None, detail);
                }
            }
        }
    }
}

fn short(hash: &Hash) -> [u8; 16] {
    let mut short = [0; 16];
    short.copy_from_slice(hash.split_at(16).0);
    short
}

/// The link of JSON that is not in canonical form, and that form of it.
fn again(text: &[u8]) -> Option<(Link, String)> {
    let parsed: serde_json::Value = serde_json::from_slice(text).ok()?;
    let canonical = parsed.to_string();
    Some((chain::link(canonical.as_bytes()).ok()?, canonical))
}
