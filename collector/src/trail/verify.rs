//! Whether a chain of audit events is whole: what was altered, taken out, put in, moved, sent twice or kept back shows.
//!
//! Events are given one by one as they were delivered; what was said of them is compared, nothing is believed that a
//! signature does not reach. What it cannot see is said in docs/security.md: what lies before the first event that is
//! given, and the end of a chain after its last checkpoint, unless the caller knows where it should be.
//!
//! Pure.

mod checkpoint;
mod ends;
mod report;

use std::collections::BTreeMap;

use super::chain::{self, Hash, Link, hex};
use crate::ocsf::event::trail::PROBE;
use checkpoint::{Agents, Said, is_signed};
pub use report::{EpochReport, Expect, Finding, Kind, Report, SCHEMA};

/// Between two checkpoints there is no more time than this, milliseconds: two that did not come are a silence.
pub const SILENCE_MS: i64 = 30_000;
/// Events that may be ahead of one that is missing before it counts as gone.
const AHEAD: usize = 100_000;
/// Findings that are named; more are counted.
const NAMED: usize = 10_000;

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
    probes: u64,
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
            probes: 0,
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
            Err(_) if is_probe(text) => {
                self.probes += 1;
                return;
            }
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
}

fn short(hash: &Hash) -> [u8; 16] {
    let mut short = [0; 16];
    short.copy_from_slice(hash.split_at(16).0);
    short
}

/// What `check-config --probe` sends says that it is no event.
fn is_probe(text: &[u8]) -> bool {
    let event = serde_json::from_slice::<serde_json::Value>(text).ok();
    let name = event
        .as_ref()
        .and_then(|event| event.pointer("/metadata/log_name"));
    name.is_some_and(|name| name == PROBE)
}

/// The link of JSON that is not in canonical form, and that form of it.
fn again(text: &[u8]) -> Option<(Link, String)> {
    let parsed: serde_json::Value = serde_json::from_slice(text).ok()?;
    let canonical = parsed.to_string();
    Some((chain::link(canonical.as_bytes()).ok()?, canonical))
}
