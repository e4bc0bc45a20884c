//! Whether a chain of audit events is whole: what was altered, taken out, put in, moved, sent twice or kept back shows.
//!
//! Events are given one by one as they were delivered; what was said of them is compared, nothing is believed that a
//! signature does not reach. What it cannot see is said in docs/security.md: what lies before the first event that is
//! given, and the end of a chain after its last checkpoint, unless the caller knows where it should be.
//!
//! Pure.

mod checkpoint;
mod ends;
mod holes;
mod report;
mod strict;

use std::collections::BTreeMap;

use serde_json::Value;

use super::chain::{self, Hash, Link, hex};
use crate::ocsf::event::trail::probe;
use crate::sinks::lake::window::MAX_ROWS;
use checkpoint::{Agents, Said, is_signed};
pub use holes::Hole;
pub use report::{EpochReport, Expect, Finding, Kind, Report, SCHEMA};

/// Between two checkpoints there is no more time than this, milliseconds: two that did not come are a silence.
pub const SILENCE_MS: i64 = 30_000;
/// Events that may be ahead of one that is missing before it counts as gone: all of two windows of Security Lake, where
/// each class has an object of its own. They take about 100 bytes each.
const AHEAD: usize = 2 * MAX_ROWS;
/// Findings of a kind that are named; more are counted. Of each kind, so that many of one hide none of another.
const NAMED: usize = 1000;

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
    /// Runs without holes, by the number of their first: the first 16 bytes of each hash.
    runs: BTreeMap<u64, Vec<[u8; 16]>>,
    /// The first number.
    first: u64,
    /// The number behind the last.
    next: u64,
    /// `first` is known: nothing before it is to come.
    is_begun: bool,
    /// Of the last, unless a hole is behind it.
    last_hash: Option<Hash>,
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
    /// In which order they came.
    rank: u64,
}

impl Epoch {
    fn is_empty(&self) -> bool {
        self.runs.is_empty() && self.ahead.is_empty()
    }

    fn seen(&self, seq: u64) -> Option<&[u8; 16]> {
        let (first, run) = self.runs.range(..=seq).next_back()?;
        run.get(usize::try_from(seq - first).ok()?)
    }

    fn push(&mut self, seq: u64, hash: &Hash) {
        let last = self.runs.last_entry();
        let run = last.filter(|run| *run.key() + run.get().len() as u64 == seq);
        match run {
            Some(mut run) => run.get_mut().push(short(hash)),
            None => drop(self.runs.insert(seq, vec![short(hash)])),
        }
        self.next = seq + 1;
        self.last_hash = Some(*hash);
    }

    const fn last(&self) -> u64 {
        self.next.saturating_sub(1)
    }

    /// The highest number given.
    fn highest(&self) -> u64 {
        let ahead = self.ahead.last_key_value().map_or(0, |(seq, _)| *seq);
        self.last().max(ahead)
    }
}

/// See the module.
pub struct Verifier<'a> {
    expect: Expect,
    place: &'a dyn Fn(Place) -> String,
    epochs: BTreeMap<String, Epoch>,
    /// Of the event before.
    current: String,
    events: u64,
    duplicates: u64,
    checkpoints: u64,
    probes: u64,
    /// How many of each kind.
    found: BTreeMap<Kind, usize>,
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
            current: String::new(),
            events: 0,
            duplicates: 0,
            checkpoints: 0,
            probes: 0,
            found: BTreeMap::new(),
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
        let found = self.found.entry(kind).or_default();
        *found += 1;
        if *found <= NAMED {
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

    /// From here on events come from where each is delivered at least once and in no order ([`Expect::loose`]).
    pub const fn loosen(&mut self) {
        self.expect.loose = true;
    }

    /// What time it is by now, Unix milliseconds, if [`Expect::now_ms`] has said one.
    pub fn now(&mut self, now_ms: i64) {
        self.expect.now_ms = self.expect.now_ms.map(|_| now_ms);
    }

    /// One event, as it was delivered: its canonical JSON, or other JSON that means the same.
    pub fn add(&mut self, text: &[u8], at: u64) {
        self.events += 1;
        let found = match chain::link(text) {
            Ok(link) if link.is_whole() => Ok((link, None)),
            // Written by somebody else, it may be whole in canonical form.
            Ok(link) => Ok(again(text)
                .filter(|(again, _)| again.is_whole())
                .map_or((link, None), |(again, canonical)| (again, Some(canonical)))),
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
        let given = Given {
            prev: link.prev,
            hash: link.hash,
            is_whole: link.is_whole(),
            said,
            at,
        };
        let (name, seq, strict) = (link.epoch, link.seq, !self.expect.loose);
        let came_back = self.current != name && self.epochs.contains_key(&name);
        self.current.clone_from(&name);
        if strict && came_back {
            let detail = "it comes after an event of another epoch, which had begun".to_owned();
            self.find(Kind::Reorder, &name, (seq, seq), Some(at), detail);
        }
        let rank = self.epochs.len() as u64;
        let epoch = self.epochs.entry(name.clone()).or_default();
        if epoch.is_empty() {
            // In no order, there may be some before it, unless it is the first of all.
            (epoch.first, epoch.next) = (seq, seq);
            epoch.is_begun = strict || seq == 1;
            epoch.rank = rank;
        } else if !epoch.is_begun && seq < epoch.first {
            (epoch.first, epoch.next) = (seq, seq);
            epoch.is_begun = seq == 1;
        }
        let next = epoch.next;
        let before = epoch
            .seen(seq)
            .copied()
            .or_else(|| epoch.ahead.get(&seq).map(|known| short(&known.hash)));
        match before {
            Some(known) if known == short(&given.hash) && given.is_whole => {
                // The signature is no part of the hash.
                let said = given.said.as_ref();
                if said.is_some_and(|said| !is_signed(said, &name, seq, &given.hash)) {
                    let detail = "it is there again, with a signature that is none".to_owned();
                    self.find(Kind::Signature, &name, (seq, seq), Some(at), detail);
                }
                self.came_again(&name, seq, at);
            }
            // Its hash is not its own: that is told already.
            Some(_) if !given.is_whole => {}
            Some(_) => {
                let detail = "another event has this place as well".to_owned();
                self.find(Kind::Fork, &name, (seq, seq), Some(at), detail);
            }
            None if seq == next && epoch.is_begun => {
                if let (true, Some((ahead, _))) = (strict, epoch.ahead.first_key_value()) {
                    let detail = format!("it comes after number {ahead}");
                    self.find(Kind::Reorder, &name, (seq, seq), Some(at), detail);
                }
                self.next(&name, seq, given);
                self.catch_up(&name, AHEAD);
            }
            None if seq >= next || !epoch.is_begun => {
                epoch.ahead.insert(seq, given);
                self.catch_up(&name, AHEAD);
            }
            // Before the first, or where events were given up as missing.
            None if strict => {
                let detail = format!("it comes after number {}", next - 1);
                self.find(Kind::Reorder, &name, (seq, seq), Some(at), detail);
            }
            None => {
                let detail =
                    "nothing says that it belongs here: what is around it was looked at before"
                        .to_owned();
                self.find(Kind::Insertion, &name, (seq, seq), Some(at), detail);
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
            let next = epoch.next;
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
            epoch.next = last + 1;
            epoch.last_hash = None;
        }
    }

    /// The next in its epoch.
    fn next(&mut self, name: &str, seq: u64, given: Given) {
        let Some(epoch) = self.epochs.get_mut(name) else {
            return;
        };
        if epoch.last_hash.is_some_and(|hash| hash != given.prev) {
            let detail = format!("its hash is not what number {seq} says");
            self.find(Kind::Edit, name, (seq - 1, seq - 1), Some(given.at), detail);
        }
        if let Some(epoch) = self.epochs.get_mut(name) {
            epoch.push(seq, &given.hash);
        }
        if let Some(said) = given.said {
            self.checkpoint(name, seq, (given.prev, &given.hash), *said, given.at);
        }
    }

    fn checkpoint(
        &mut self,
        name: &str,
        seq: u64,
        (prev, hash): (Hash, &Hash),
        said: Said,
        at: Place,
    ) {
        let Some(epoch) = self.epochs.get(name) else {
            return;
        };
        if said.is_open != (seq == 1) {
            let detail = "an epoch begins with its first event, and only there".to_owned();
            self.find(Kind::Signature, name, (seq, seq), Some(at), detail);
            return;
        }
        // That of an epoch's first is looked at when all are known: the epoch before says it.
        if let Some(key) = epoch.key.filter(|key| *key != said.key) {
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
        let previous = said.previous.as_ref();
        let before = previous.map_or(chain::NOTHING, |(_, _, hash)| *hash);
        if said.is_open && before != prev {
            let detail = "its link is not to the hash that it says of the epoch before".to_owned();
            self.find(Kind::Fork, name, (seq, seq), Some(at), detail);
        }
        let Some(epoch) = self.epochs.get(name) else {
            return;
        };
        if let Some(detail) = epoch
            .checkpoint_ms
            .and_then(|before| apart(before, said.time_ms))
        {
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

/// What is wrong with the time between two checkpoints, if anything is.
fn apart(before_ms: i64, ms: i64) -> Option<String> {
    match ms.saturating_sub(before_ms) {
        apart if apart > SILENCE_MS => {
            Some(format!("{} s without a checkpoint before it", apart / 1000))
        }
        apart if apart < -SILENCE_MS => Some(format!(
            "it is {} s older than the checkpoint before it: a clock was set back, or one is not true",
            apart.unsigned_abs() / 1000
        )),
        _ => None,
    }
}

/// What `check-config --probe` sends, and nothing else in it.
fn is_probe(text: &[u8]) -> bool {
    let Some(event) = strict::parse(text) else {
        return false;
    };
    let text = |pointer: &str| event.pointer(pointer).and_then(Value::as_str);
    let (Some(uid), Some(time), Some(version)) = (
        text("/metadata/uid"),
        text("/metadata/original_time"),
        text("/metadata/product/version"),
    ) else {
        return false;
    };
    let is_version = version.len() <= 32 && version.bytes().all(|byte| byte.is_ascii_graphic());
    let time = time.parse::<jiff::Timestamp>().ok();
    let time = time.and_then(|time| u64::try_from(time.as_nanosecond()).ok());
    is_version
        && uid.strip_prefix("probe/") == text("/metadata/original_time")
        && time.is_some_and(|time| {
            serde_json::to_value(probe(uid, time, version)).is_ok_and(|probe| probe == event)
        })
}

/// The link of JSON that is not in canonical form, and that form of it.
fn again(text: &[u8]) -> Option<(Link, String)> {
    let canonical = strict::parse(text)?.to_string();
    Some((chain::link(canonical.as_bytes()).ok()?, canonical))
}
