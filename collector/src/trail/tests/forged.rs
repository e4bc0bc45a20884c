//! Everything that can be done to a chain without its keys is seen, and named by the number of what was done to.

use crate::trail::chain::hex;
use aws_lc_rs::signature::Ed25519KeyPair;
use fastrand::Rng;

use super::*;
use crate::ocsf::event::trail::{PROBE_MESSAGE, probe};

fn kinds(report: &Report) -> Vec<(Kind, Option<u64>)> {
    let findings = report.findings.iter();
    findings
        .map(|finding| (finding.kind, finding.seq))
        .collect()
}

/// What `check-config --probe` sends, with that message.
fn ocsf_probe(message: &str) -> String {
    let time = "2026-12-01T07:30:00.000000001Z";
    let unix_ns = time.parse::<jiff::Timestamp>().unwrap().as_nanosecond();
    let event = probe(
        &format!("probe/{time}"),
        u64::try_from(unix_ns).unwrap(),
        "0.1.0",
    );
    serde_json::to_string(&event)
        .unwrap()
        .replace(PROBE_MESSAGE, message)
}

fn of(chain: &[String]) -> Report {
    verify(chain.iter().map(String::as_str), Expect::default())
}

#[test]
fn each_forgery_is_named() {
    let chain = two_lives();
    let forged = |change: &dyn Fn(&mut Vec<String>)| {
        let mut forged = chain.clone();
        change(&mut forged);
        kinds(&of(&forged))
    };
    let edited = |text: &str| text.replace("\"class_uid\":4002", "\"class_uid\":4003");
    // Number n of the first epoch is at n - 1.
    assert_eq!(
        forged(&|of| of[49] = edited(&of[49])),
        [(Kind::Edit, Some(50))]
    );
    // With a hash that is right again.
    let again = |text: &str| {
        let event: Value = serde_json::from_str(&edited(text)).unwrap();
        let link = chain::link(text.as_bytes()).unwrap();
        chain::seal(
            event.as_object().unwrap().clone(),
            &link.epoch,
            link.seq,
            &link.prev,
        )
        .0
    };
    assert_eq!(
        forged(&|of| of[49] = again(&of[49])),
        [(Kind::Edit, Some(50))]
    );
    assert_eq!(forged(&|of| drop(of.remove(49))), [(Kind::Gap, Some(50))]);
    assert_eq!(
        forged(&|of| drop(of.drain(49..52))),
        [(Kind::Gap, Some(50))]
    );
    assert_eq!(forged(&|of| of.swap(49, 50)), [(Kind::Reorder, Some(50))]);
    assert_eq!(
        forged(&|of| of.insert(60, of[49].clone())),
        [(Kind::Replay, Some(50))]
    );
    assert_eq!(
        forged(&|of| of.insert(50, again(&of[49]))),
        [(Kind::Fork, Some(50))]
    );
    assert_eq!(
        forged(&|of| of.insert(50, "{}".to_owned())),
        [(Kind::Insertion, None)]
    );
    assert_eq!(
        forged(&|of| drop(of.pop())),
        [(Kind::UnsignedTail, Some(8))]
    );
    // The end of the first epoch, which the second has said.
    assert_eq!(
        forged(&|of| drop(of.remove(1033))),
        [(Kind::Gap, Some(1034)), (Kind::Silence, Some(1))],
        "nor did it end on purpose, then"
    );
    let probe = ocsf_probe("all is well");
    assert_eq!(
        forged(&|of| of.insert(50, probe.clone())),
        [(Kind::Insertion, None)]
    );
    assert_eq!(forged(&|of| of.insert(50, ocsf_probe(PROBE_MESSAGE))), []);
    // A whole epoch, or its beginning.
    assert_eq!(
        forged(&|of| of.rotate_left(1034)),
        [(Kind::Reorder, Some(1))]
    );
    let no_beginning = forged(&|of| drop(of.remove(1034)));
    assert_eq!(
        no_beginning.first(),
        Some(&(Kind::Gap, Some(1))),
        "{no_beginning:?}"
    );
}

/// Whoever has no key can make no checkpoint, and whoever has a later one can say nothing of what was before.
#[test]
fn a_checkpoint_by_another_key_is_named() {
    let chain = two_lives();
    let pair = Ed25519KeyPair::generate().unwrap();
    let forge = |text: &str| {
        let link = chain::link(text.as_bytes()).unwrap();
        let mut event: Value = serde_json::from_str(text).unwrap();
        event["message"] = "all is well".into();
        let (mut text, hash) = chain::seal(
            event.as_object().unwrap().clone(),
            &link.epoch,
            link.seq,
            &link.prev,
        );
        let mut signature = [0; 64];
        let message = chain::signed(&link.epoch, link.seq, &hash);
        signature.copy_from_slice(pair.sign(message.as_bytes()).as_ref());
        chain::put_signature(&mut text, &signature);
        text
    };
    let last = chain.len() - 1;
    let mut forged = chain.clone();
    forged[last] = forge(&chain[last]);
    let report = of(&forged);
    assert_eq!(
        kinds(&report),
        [(Kind::Signature, Some(23)), (Kind::UnsignedTail, Some(8))]
    );
    let unsigned = chain[last].find(",\"signature\"").unwrap();
    let mut forged = chain;
    forged[last].replace_range(unsigned..unsigned + 143, "");
    assert_eq!(
        kinds(&of(&forged)),
        [(Kind::Signature, Some(23)), (Kind::UnsignedTail, Some(8))]
    );
}

#[test]
fn what_is_known_from_elsewhere_is_held_against_it() {
    let chain = two_lives();
    let whole = of(&chain);
    let first = chain::from_hex(whole.epochs[0].first_key.as_ref().unwrap()).unwrap();
    let head = (
        whole.epochs[1].epoch.clone(),
        whole.epochs[1].last_seq,
        chain::from_hex(&whole.epochs[1].last_hash).unwrap(),
    );
    let expect = |key, head: Option<(String, u64, chain::Hash)>, now_ms| Expect {
        key,
        heads: head.into_iter().collect(),
        now_ms,
        ..Expect::default()
    };
    let end_ms = i64::try_from(START / 1_000_000).unwrap() + 120_000;
    let bodies = || chain.iter().map(String::as_str);
    let good = expect(Some(first), Some(head.clone()), Some(end_ms + 30_000));
    assert_eq!(kinds(&verify(bodies(), good.clone())), []);
    let late = expect(Some(first), Some(head.clone()), Some(end_ms + 30_001));
    assert_eq!(kinds(&verify(bodies(), late)), [(Kind::Silence, Some(23))]);
    let other = expect(Some([7; 32]), None, None);
    assert_eq!(kinds(&verify(bodies(), other)), [(Kind::Signature, None)]);
    // An older copy ends with a checkpoint as well.
    let older = chain.iter().map(String::as_str).take(1034 + 7);
    let known = expect(None, Some(head), None);
    assert_eq!(kinds(&verify(older, known)), [(Kind::Rollback, Some(8))]);
}

/// As a destination that takes each at least once, in no order, gives them back, and a SIEM that writes JSON its own way.
#[test]
fn copies_in_another_order_and_form_are_whole_where_that_may_be() {
    let mut chain = two_lives();
    chain.extend_from_within(3..40);
    Rng::with_seed(5).shuffle(&mut chain);
    let pretty: Vec<String> = chain
        .iter()
        .map(|text| {
            let event: Value = serde_json::from_str(text).unwrap();
            serde_json::to_string_pretty(&event).unwrap()
        })
        .collect();
    let loose = Expect {
        loose: true,
        ..Expect::default()
    };
    for form in [&chain, &pretty] {
        let report = verify(form.iter().map(String::as_str), loose.clone());
        assert_eq!((kinds(&report), report.duplicates), (vec![], 37));
    }
    chain.pop();
    chain.pop();
    assert!(!verify(chain.iter().map(String::as_str), loose).ok);
}

/// One thing done to a chain at random: it is never taken for whole.
#[test]
fn no_mutation_of_a_chain_passes() {
    let chain = two_lives();
    // The end of the first life and the second: short enough to be looked at often.
    let chain = &chain[1000..];
    let mut rng = Rng::with_seed(0x0074_7261_696c);
    for round in 0..20_000 {
        let mut forged = chain.to_vec();
        let at = rng.usize(1..forged.len() - 1);
        let other = rng.usize(1..forged.len() - 1);
        let what = rng.u8(0..6);
        match what {
            0 => {
                let mut bytes = forged[at].clone().into_bytes();
                let byte = rng.usize(0..bytes.len());
                bytes[byte] ^= 1 << rng.u8(0..7);
                let Ok(text) = String::from_utf8(bytes) else {
                    continue;
                };
                forged[at] = text;
            }
            1 => drop(forged.remove(at)),
            2 => forged.insert(other, forged[at].clone()),
            3 => {
                let moved = forged.remove(at);
                if other == at {
                    continue;
                }
                forged.insert(other, moved);
            }
            4 => {
                let (from, to) = (at.min(other), at.max(other));
                drop(forged.drain(from..=to));
            }
            _ => {
                let link = chain::link(forged[at].as_bytes()).unwrap();
                let mut event: Value = serde_json::from_str(&forged[at]).unwrap();
                event["severity_id"] = 6.into();
                event["unmapped"].as_object_mut().unwrap().remove("chain");
                let event = event.as_object().unwrap().clone();
                forged[at] = chain::seal(event, &link.epoch, link.seq, &link.prev).0;
            }
        }
        let report = of(&forged);
        assert!(!report.ok, "round {round}: {what} at {at}, {other}");
    }
}

/// Somebody with a key of his own, who goes on with a chain from a link on.
struct Forger {
    pair: Ed25519KeyPair,
    epoch: String,
    seq: u64,
    hash: chain::Hash,
    time_ms: i64,
}

impl Forger {
    fn behind(text: &str) -> Self {
        let link = chain::link(text.as_bytes()).unwrap();
        let event: Value = serde_json::from_str(text).unwrap();
        Self {
            pair: Ed25519KeyPair::generate().unwrap(),
            epoch: link.epoch,
            seq: link.seq,
            hash: link.hash,
            time_ms: event["time"].as_i64().unwrap(),
        }
    }

    fn key(&self) -> String {
        hex(aws_lc_rs::signature::KeyPair::public_key(&self.pair).as_ref())
    }

    fn link(&mut self, event: &Value, is_signed: bool) -> String {
        self.seq += 1;
        let event = event.as_object().unwrap().clone();
        let (mut text, hash) = chain::seal(event, &self.epoch, self.seq, &self.hash);
        if is_signed {
            let mut signature = [0; 64];
            let message = chain::signed(&self.epoch, self.seq, &hash);
            signature.copy_from_slice(self.pair.sign(message.as_bytes()).as_ref());
            chain::put_signature(&mut text, &signature);
        }
        self.hash = hash;
        text
    }

    fn event(&mut self) -> String {
        self.link(&json!({"time": self.time_ms, "message": "forged"}), false)
    }

    fn checkpoint(&mut self, why: &str) -> String {
        let mut checkpoint = json!({"why": why, "key": self.key(), "agents": []});
        if why == "open" || why == "rotate" {
            checkpoint["next_key"] = self.key().into();
        }
        let event = json!({"time": self.time_ms, "unmapped": {"checkpoint": checkpoint}});
        self.link(&event, true)
    }
}

#[test]
fn a_copy_of_a_checkpoint_with_another_signature_is_told() {
    let chain = two_lives();
    let loose = Expect {
        loose: true,
        ..Expect::default()
    };
    let link = chain::link(chain[0].as_bytes()).unwrap();
    let mut signature = link.signature.unwrap();
    signature[7] ^= 1;
    let other = chain[0].replace(&hex(&link.signature.unwrap()), &hex(&signature));
    let with = |copy: &String| {
        let lines = chain.iter().chain([copy]).map(String::as_str);
        kinds(&verify(lines, loose.clone()))
    };
    assert_eq!(with(&chain[0]), []);
    assert_eq!(with(&other), [(Kind::Signature, Some(1))]);
}

#[test]
fn a_beginning_whose_link_is_not_to_what_it_says_is_told() {
    let chain = two_lives();
    let last = chain::link(chain.last().unwrap().as_bytes()).unwrap();
    for is_true in [true, false] {
        let mut with_key = Forger::behind(chain.last().unwrap());
        (with_key.epoch, with_key.seq) = ("next".to_owned(), 0);
        if !is_true {
            with_key.hash = [7; 32];
        }
        let previous = json!({"epoch": last.epoch, "seq": last.seq, "hash": hex(&last.hash)});
        let key = with_key.key();
        let checkpoint =
            json!({"why": "open", "key": key, "next_key": key, "agents": [], "previous": previous});
        let event = json!({"time": 1, "unmapped": {"checkpoint": checkpoint}});
        let beginning = with_key.link(&event, true);
        let found = kinds(&of(&[beginning]));
        assert_eq!(
            found.contains(&(Kind::Fork, Some(1))),
            !is_true,
            "{found:?}"
        );
    }
}

/// Checkpoints of every kind, signed by a key of his own, at every place of a chain: none of them is taken.
#[test]
fn no_checkpoint_by_a_key_of_ones_own_is_taken() {
    let chain = two_lives();
    let first_key = chain::from_hex(of(&chain).epochs[0].first_key.as_ref().unwrap()).unwrap();
    let mut rng = Rng::with_seed(0x666f_7267_6572);
    for round in 0..400 {
        let at = rng.usize(1..chain.len());
        let mut with_key = Forger::behind(&chain[at - 1]);
        let mut forged = chain[..at].to_vec();
        for _ in 0..rng.u8(1..6) {
            forged.push(match rng.u8(0..5) {
                0 => with_key.checkpoint("open"),
                1 => with_key.checkpoint("periodic"),
                2 => with_key.checkpoint("rotate"),
                3 => with_key.checkpoint("close"),
                _ => with_key.event(),
            });
        }
        let report = of(&forged);
        assert!(!report.ok, "round {round}: at {at}: {:?}", &forged[at..]);
        // Nothing genuine at all, from the middle of an epoch on or from its beginning.
        let forged = &forged[at..];
        let expect = Expect {
            key: Some(first_key),
            ..Expect::default()
        };
        let report = verify(forged.iter().map(String::as_str), expect);
        assert!(!report.ok, "round {round}: {forged:?}");
    }
}

#[test]
fn what_is_dated_ahead_or_back_is_named() {
    let chain = two_lives();
    let end_ms = i64::try_from(START / 1_000_000).unwrap() + 120_000;
    let live = |now_ms| {
        let expect = Expect {
            now_ms: Some(now_ms),
            ..Expect::default()
        };
        kinds(&verify(chain.iter().map(String::as_str), expect))
    };
    assert_eq!(live(end_ms), []);
    assert_eq!(live(end_ms - 30_001), [(Kind::Silence, Some(23))]);
    assert_eq!(live(i64::MIN), [(Kind::Silence, Some(23))]);
    // A chain of his own, whose times leap as far as they can.
    let mut forger = Forger::behind(&chain[0]);
    (forger.seq, forger.hash) = (0, chain::NOTHING);
    forger.time_ms = i64::MIN;
    let open = forger.checkpoint("open");
    forger.time_ms = i64::MAX;
    let next = forger.checkpoint("periodic");
    forger.time_ms = 0;
    let last = forger.checkpoint("periodic");
    let report = of(&[open, next, last]);
    assert_eq!(
        kinds(&report),
        [(Kind::Silence, Some(2)), (Kind::Silence, Some(3))]
    );
}

/// JSON of which readers may read different things is none; other forms of the same are.
#[test]
fn one_meaning_in_any_form_and_no_other() {
    let chain = two_lives();
    let with = |change: &dyn Fn(&str) -> String| {
        let mut copy = chain.clone();
        copy[49] = change(&copy[49]);
        assert_ne!(copy[49], chain[49]);
        kinds(&of(&copy))
    };
    let twice = |text: &str| {
        text.replacen(
            "\"class_uid\":4002",
            "\"class_uid\":9999,\"class_uid\": 4002",
            1,
        )
    };
    assert_eq!(with(&twice), [(Kind::Edit, Some(50))]);
    let spaced = |text: &str| twice(text).replace("\"chain\":{", "\"chain\": {");
    assert_eq!(
        with(&spaced),
        [(Kind::Insertion, None), (Kind::Gap, Some(50))]
    );
    let escaped = |text: &str| text.replacen("class_uid", "cl\\u0061ss_uid", 1);
    assert_eq!(with(&escaped), []);
    let moved = |text: &str| {
        let rest = text.replacen("\"class_uid\":4002,", "", 1);
        let members = rest
            .strip_prefix('{')
            .and_then(|rest| rest.strip_suffix('}'));
        format!("{{{},\"class_uid\":4002}}", members.unwrap())
    };
    assert_eq!(with(&moved), []);
}

#[test]
fn hostile_numbers_cost_neither_sense_nor_memory() {
    let chain = two_lives();
    let at = |seq: &str| chain[49].replace("\"seq\":50", &format!("\"seq\":{seq}"));
    for seq in [
        "0",
        "9007199254740992",
        "18446744073709551615",
        "-1",
        "50.0",
    ] {
        let copy: Vec<String> = chain.iter().cloned().chain([at(seq)]).collect();
        assert_eq!(kinds(&of(&copy)), [(Kind::Insertion, None)], "{seq}");
    }
    // Holes as wide as they can be, and epochs that name each other.
    let mut lines: Vec<String> = (1..200_u64).map(|n| at(&(n << 45).to_string())).collect();
    for n in 0..2000 {
        let mut forger = Forger::behind(&chain[0]);
        (forger.epoch, forger.seq) = (format!("e{n}"), 0);
        let previous =
            json!({"epoch": format!("e{}", (n + 1) % 2000), "seq": 1, "hash": hex(&[7; 32])});
        let checkpoint = json!({"why": "open", "key": forger.key(), "next_key": forger.key(),
            "agents": [], "previous": previous});
        lines.push(forger.link(
            &json!({"time": 1, "unmapped": {"checkpoint": checkpoint}}),
            true,
        ));
    }
    for loose in [false, true] {
        let expect = Expect {
            loose,
            ..Expect::default()
        };
        let report = verify(lines.iter().map(String::as_str), expect);
        assert!(!report.ok);
        assert_eq!(report.epochs.len(), 2001);
    }
    // What comes when all around it was looked at belongs nowhere, in no order as well.
    let expect = Expect {
        loose: true,
        ..Expect::default()
    };
    let long = (60..=450_000_u64).map(|n| at(&n.to_string()));
    let late: Vec<String> = long.chain([at("55")]).collect();
    let report = verify(late.iter().map(String::as_str), expect);
    let found = report
        .findings
        .iter()
        .any(|finding| finding.kind == Kind::Insertion && finding.seq == Some(55));
    assert!(found, "{:?}", report.findings.last());
}
