//! Everything that can be done to a chain without its keys is seen, and named by the number of what was done to.

use aws_lc_rs::signature::Ed25519KeyPair;
use fastrand::Rng;

use super::*;

fn kinds(report: &Report) -> Vec<(Kind, Option<u64>)> {
    let findings = report.findings.iter();
    findings
        .map(|finding| (finding.kind, finding.seq))
        .collect()
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
    let probe = r#"{"metadata":{"log_name":"probe"}}"#;
    assert_eq!(forged(&|of| of.insert(50, probe.to_owned())), []);
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
    let expect = |key, head, now_ms| Expect {
        key,
        head,
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
    assert_eq!(
        kinds(&verify(bodies(), other)),
        [(Kind::Signature, Some(1))]
    );
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
