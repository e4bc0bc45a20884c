//! What must be true when everything has arrived.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::collector::verify;
use crate::course::LIFE;
use crate::places::Events;

pub(crate) struct Books<'a> {
    /// `/api/v1/accounting`, when nothing was on its way any more.
    pub(crate) accounting: Value,
    /// By the emitter's life: how many of its records were said to be durable.
    pub(crate) durable: &'a BTreeMap<u32, u32>,
    /// Files in which a bit was turned over.
    pub(crate) flipped: &'a [PathBuf],
    /// The collector's own audit file.
    pub(crate) lines: Vec<Value>,
    pub(crate) places: Vec<Events>,
    /// The collector's clock was set.
    pub(crate) has_steps: bool,
}

/// What was told to be lost.
struct Told {
    stage: String,
    fate: String,
    count: u64,
    /// Its numbers at that stage.
    range: Option<(u64, u64)>,
}

impl Books<'_> {
    /// What there was, in a line.
    pub(crate) fn sum(&self) -> String {
        let said: u32 = self.durable.values().sum();
        let told = self.told();
        let told: Vec<String> = told
            .iter()
            .map(|told| {
                format!(
                    "{} {} {} {:?}",
                    told.count, told.stage, told.fate, told.range
                )
            })
            .collect();
        let places = self.places.iter();
        let places: Vec<String> = places
            .map(|place| format!("{} {}", place.sink, place.texts.len()))
            .collect();
        format!(
            "{said} records durable, {} lines, {} bits turned over; told to be lost: [{}]; {}",
            self.lines.len(),
            self.flipped.len(),
            told.join(", "),
            places.join(", ")
        )
    }

    /// What is wrong, each in a line.
    pub(crate) fn judge(&self, folder: &Path) -> Vec<String> {
        let mut wrong = Vec::new();
        self.judge_records(&mut wrong);
        self.judge_accounting(&mut wrong);
        self.judge_places(&mut wrong);
        self.judge_chain(folder, &mut wrong);
        wrong
    }

    fn told(&self) -> Vec<Told> {
        let losses = self.lines.iter().filter(|line| line["event"] == "loss");
        let told = losses.map(|line| Told {
            stage: line["stage"].as_str().unwrap_or_default().to_owned(),
            fate: line["fate"].as_str().unwrap_or_default().to_owned(),
            count: line["count"].as_u64().unwrap_or_default(),
            range: line["first_seq"].as_u64().zip(line["last_seq"].as_u64()),
        });
        told.collect()
    }

    /// Each durable record is there once, or told to be lost.
    fn judge_records(&self, wrong: &mut Vec<String>) {
        let mut ids = BTreeSet::new();
        let mut numbers: BTreeMap<u32, BTreeSet<u32>> = BTreeMap::new();
        for line in &self.lines {
            if !ids.insert(line["id"].to_string()) {
                wrong.push(format!("the audit file has {} twice", line["id"]));
            }
            if line["event"] == "oom_kill" {
                let pid = line["victim_pid"].as_u64().unwrap_or_default();
                let number = u32::try_from(pid).unwrap_or_default() - 1;
                let life = numbers.entry(number / LIFE).or_default();
                life.insert(number % LIFE);
            }
        }
        let mut missing = 0;
        for (life, said) in self.durable {
            let there = numbers.remove(life).unwrap_or_default();
            // What was durable and not said yet may be there too, but with no gap before it.
            let end = there.last().map_or(0, |last| last + 1).max(*said);
            missing += u64::from(end) - there.len() as u64;
        }
        let told = self.told();
        let is_by_kill = |told: &Told| told.stage == "spool" && told.fate == "undecodable";
        if self.flipped.is_empty() {
            if missing > 0 {
                wrong.push(format!("{missing} durable records are missing"));
            }
            let other = told.iter().filter(|told| !is_by_kill(told));
            wrong
                .extend(other.map(|told| format!("told to be lost: {} {}", told.stage, told.fate)));
            return;
        }
        let sum: u64 = told.iter().map(|told| told.count).sum();
        if missing > sum {
            wrong.push(format!("{missing} are missing, and {sum} are told"));
        }
        // A bit takes one record with it.
        let of_collector = told.iter().filter(|told| !is_by_kill(told));
        let by_bits: u64 = of_collector.map(|told| told.count).sum();
        if by_bits > self.flipped.len() as u64 {
            let bits = self.flipped.len();
            wrong.push(format!("{bits} bits cost {by_bits} records"));
        }
    }

    fn judge_accounting(&self, wrong: &mut Vec<String>) {
        if self.accounting["balanced"] != true {
            wrong.push(format!("the books are off: {:#}", self.accounting));
        }
        let told = self.told();
        let gaps = self.accounting["gaps"].as_array().into_iter().flatten();
        let ranges = gaps.flat_map(|gap| gap["ranges"].as_array().into_iter().flatten());
        // What a bit took out of the collector's journal is told by the journal's numbers.
        let of_journal = told.iter().filter(|told| told.stage == "journal");
        let mut of_journal: u64 = of_journal.map(|told| told.count).sum();
        for range in ranges {
            let (from, to) = (range[0].as_u64(), range[1].as_u64());
            let is_told = told.iter().any(|told| {
                told.range
                    .is_some_and(|(first, last)| Some(first) <= from && to <= Some(last))
            });
            let length = to.zip(from).map_or(0, |(to, from)| to - from + 1);
            if !is_told && length <= of_journal {
                of_journal -= length;
            } else if !is_told {
                wrong.push(format!("the gap {range} is not told"));
            }
        }
    }

    /// What was lost on the way from the trail to the sinks.
    fn lost_in_trail(&self) -> u64 {
        let told = self.told().into_iter();
        let of_trail = told.filter(|told| told.stage == "trail");
        of_trail.map(|told| told.count).sum()
    }

    /// Each place has each event; what it has twice is the same.
    fn judge_places(&self, wrong: &mut Vec<String>) {
        let mut everywhere = BTreeSet::new();
        let mut by_place = Vec::new();
        for place in &self.places {
            let mut there: BTreeMap<String, &String> = BTreeMap::new();
            for text in &place.texts {
                let Some(uid) = uid(text) else {
                    wrong.push(format!("{}: no event: {text}", place.sink));
                    continue;
                };
                let first = *there.entry(uid.clone()).or_insert(text);
                if first != text {
                    wrong.push(format!("{}: {uid} is there in two ways", place.sink));
                }
            }
            if place.once && there.len() < place.texts.len() {
                let more = place.texts.len() - there.len();
                wrong.push(format!("{}: {more} are there twice", place.sink));
            }
            everywhere.extend(there.keys().cloned());
            by_place.push((place, there));
        }
        let written = self.lines.iter().filter_map(|line| line["id"].as_str());
        let unpublished = written.filter(|id| !everywhere.contains(*id)).count() as u64;
        let lost = self.lost_in_trail();
        if unpublished > lost {
            wrong.push(format!("{unpublished} lines are at no sink"));
        }
        for (place, there) in by_place {
            let missing = everywhere.iter().filter(|id| !there.contains_key(*id));
            let missing = missing.count() as u64;
            if place.all && missing > lost {
                wrong.push(format!("{}: {missing} are missing", place.sink));
            }
        }
    }

    fn judge_chain(&self, folder: &Path, wrong: &mut Vec<String>) {
        let mut epochs: Option<Value> = None;
        for place in &self.places {
            // 1.3.0 cannot be computed again, and syslog lost some.
            if place.sink == "older" || !place.all {
                continue;
            }
            let copy = folder.join("copy.jsonl");
            std::fs::write(&copy, place.texts.join("\n")).unwrap();
            let order: &[&str] = if place.once {
                &[]
            } else {
                &["--at-least-once"]
            };
            let (_, report) = verify(order, &copy);
            let findings = report["findings"].as_array().into_iter().flatten();
            let lost = self.lost_in_trail();
            let unexplained = findings.filter(|finding| {
                // What a bit took out of the trail is missing, or is at a sink that had it and goes on otherwise.
                let is_in_trail = self.flipped.iter().any(|path| {
                    path.parent()
                        .is_some_and(|folder| folder.ends_with("journal/trail"))
                });
                let kind = finding["kind"].as_str().unwrap_or_default();
                let is_of_damage = (lost > 0 && kind == "gap")
                    || (is_in_trail && ["fork", "rollback"].contains(&kind));
                // Time that was jumped over looks like time in which nothing was written.
                let is_of_clock = self.has_steps && finding["kind"] == "silence";
                !is_of_damage && !is_of_clock
            });
            wrong.extend(unexplained.map(|finding| format!("{}: {finding}", place.sink)));
            if *epochs.get_or_insert_with(|| report["epochs"].clone()) != report["epochs"] {
                wrong.push(format!("{}: its chain is another", place.sink));
            }
        }
    }
}

fn uid(text: &str) -> Option<String> {
    let event: Value = serde_json::from_str(text).ok()?;
    Some(event["metadata"]["uid"].as_str()?.to_owned())
}
