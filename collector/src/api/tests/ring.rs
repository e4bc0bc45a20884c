//! The ring of recent events: what is found in it, in which order, what falls out.

use super::*;

/// Sequence numbers that a query finds, newest first, over six events a minute apart.
#[track_caller]
fn check(query: &AuditQuery, expected: &[u64], more: bool) {
    let ring = AuditRing::default();
    let classes = ["CRED", "TOKEN", "CRED", "NETWORK", "CRED"];
    for (seq, class) in (1..).zip(classes) {
        let namespace = if seq == 3 { "data" } else { "shop" };
        ring.push(access(seq, seq * 60_000_000_000, class, namespace));
    }
    let mut end = access(6, 360_000_000_000, "", "shop");
    end.event = AuditEvent::ContainerEnd(ContainerEnd {
        identity: Identity::unknown(1),
        started_unix_ns: None,
        cpu_used_ns: None,
        memory_peak_bytes: None,
    });
    ring.push(end);
    let (found, has_more) = ring.query(query, &Seen::All, NOW).unwrap();
    assert_eq!(
        found.iter().map(|record| record.id.seq).collect::<Vec<_>>(),
        expected
    );
    assert_eq!(has_more, more);
}

#[test]
fn queries() {
    let query = AuditQuery::default();
    let text = |text: &str| Some(text.to_owned());
    check(&query, &[6, 5, 4, 3, 2, 1], false);
    check(
        &AuditQuery {
            class: text("cred"),
            ..query.clone()
        },
        &[5, 3, 1],
        false,
    );
    check(
        &AuditQuery {
            class: text("imds"),
            limit: Some(2),
            ..query.clone()
        },
        &[5, 4],
        true,
    );
    check(
        &AuditQuery {
            class: text("TOKEN,container_end"),
            ..query.clone()
        },
        &[6, 2],
        false,
    );
    check(
        &AuditQuery {
            namespace: text("data"),
            ..query.clone()
        },
        &[3],
        false,
    );
    check(
        &AuditQuery {
            workload: text("web"),
            class: text("All"),
            limit: Some(6),
            ..query.clone()
        },
        &[6, 5, 4, 3, 2, 1],
        false,
    );
    check(
        &AuditQuery {
            since: text("5m"),
            ..query.clone()
        },
        &[6, 5],
        false,
    );
    check(
        &AuditQuery {
            since: text(" 1970-01-01T00:04:30Z "),
            ..query
        },
        &[6, 5],
        false,
    );
}

#[test]
fn rings_are_bounded_apart_and_late_events_find_their_place() {
    let ring = AuditRing::default();
    ring.push(access(1, 10, "CRED", "shop"));
    for seq in 0..(audit::MAX_ENDS as u64 + 5) {
        let mut end = access(seq, 1_000 + seq, "", "shop");
        end.event = AuditEvent::ContainerEnd(ContainerEnd {
            identity: Identity::unknown(1),
            started_unix_ns: None,
            cpu_used_ns: None,
            memory_peak_bytes: None,
        });
        ring.push(end);
    }
    ring.push(access(3, 30, "CRED", "shop"));
    ring.push(access(2, 20, "CRED", "shop"));
    let query = |class: &str| AuditQuery {
        class: Some(class.to_owned()),
        limit: Some(5000),
        ..AuditQuery::default()
    };
    let seqs = |class: &str| {
        ring.query(&query(class), &Seen::All, NOW)
            .unwrap()
            .0
            .iter()
            .map(|r| r.id.seq)
            .collect::<Vec<_>>()
    };
    assert_eq!(seqs("CRED"), [3, 2, 1]);
    assert_eq!(seqs("container_end").len(), audit::MAX_ENDS);
}

/// Followed by arrival: a late event comes, one from the future hides nothing, a limit leaves
/// nothing out, and a cursor of another life brings everything.
#[test]
fn a_cursor_follows_the_order_of_arrival() {
    let ring = AuditRing::of_life(1);
    ring.push(access(1, u64::MAX / 4, "CRED", "shop"));
    let ask = |ring: &AuditRing, after: &str, limit: usize| {
        let query = AuditQuery {
            after: Some(after.to_owned()),
            limit: Some(limit),
            ..AuditQuery::default()
        };
        let page = ring.page(&query, &Seen::All, NOW).unwrap();
        let seqs: Vec<u64> = page.found.iter().map(|record| record.id.seq).collect();
        (seqs, page.more, page.cursor)
    };
    let (_, _, begin) = ask(&ring, "", 10);
    for (seq, time) in [(2, 20), (3, 5), (4, 30)] {
        ring.push(access(seq, time, "CRED", "shop"));
    }
    let (seqs, more, next) = ask(&ring, &begin, 2);
    assert_eq!((seqs, more), (vec![2, 3], true));
    let (seqs, more, next) = ask(&ring, &next, 2);
    assert_eq!((seqs, more), (vec![4], false));
    assert_eq!(ask(&ring, &next, 2), (vec![], false, next.clone()));
    let again = AuditRing::of_life(2);
    again.push(access(4, 30, "CRED", "shop"));
    assert_eq!(ask(&again, &next, 2).0, [4]);
    let refused = AuditQuery {
        after: Some("yesterday".to_owned()),
        ..AuditQuery::default()
    };
    assert!(ring.page(&refused, &Seen::All, NOW).is_err());
}

/// A full ring lets go what came first. Nodes' times say nothing of that: a backlog is hours old, and a
/// clock may be years ahead.
#[test]
fn a_full_ring_lets_go_by_arrival_and_not_by_time() {
    let ring = AuditRing::of_life(1);
    let future = u64::MAX / 4;
    for seq in 0..audit::MAX_EVENTS as u64 {
        ring.push(access(seq, future + seq, "CRED", "shop"));
    }
    let ask = |after: Option<&str>| {
        let query = AuditQuery {
            after: after.map(str::to_owned),
            limit: Some(audit::MAX_LIMIT),
            ..AuditQuery::default()
        };
        let page = ring.page(&query, &Seen::All, NOW).unwrap();
        let seqs: Vec<u64> = page.found.iter().map(|record| record.id.seq).collect();
        (seqs, page.cursor)
    };
    let (_, cursor) = ask(None);
    let late: Vec<u64> = (20_000..20_100).collect();
    for seq in &late {
        ring.push(access(*seq, *seq, "CRED", "shop"));
    }
    assert_eq!(ask(Some(&cursor)).0, late);
    for seq in 30_000..30_000 + audit::MAX_EVENTS as u64 - 100 {
        ring.push(access(seq, seq, "CRED", "shop"));
    }
    let (newest, _) = ask(None);
    assert_eq!(newest.first(), Some(&39_899), "the future is gone");
    assert!(newest.is_sorted_by(|a, b| a > b));
}

/// What an earlier life left in the file is old, and came to a follower then; what came in this life
/// did not, however long ago it happened.
#[test]
fn a_cursor_of_another_life_brings_nothing_old_as_if_it_were_new() {
    let ring = AuditRing::of_life(2);
    for seq in 1..=4 {
        let line = access(seq, seq * 100, "CRED", "shop").to_document();
        ring.load(std::iter::once(line.to_string().as_str()), NOW);
    }
    ring.arrived(access(5, 50, "CRED", "shop"), 1, NOW);
    ring.arrived(access(6, 600, "CRED", "shop"), 1, NOW);
    let ask = |after: &str, since: Option<&str>| {
        let query = AuditQuery {
            after: Some(after.to_owned()),
            since: since.map(str::to_owned),
            ..AuditQuery::default()
        };
        let page = ring.page(&query, &Seen::All, NOW).unwrap();
        let seqs: Vec<u64> = page.found.iter().map(|record| record.id.seq).collect();
        (seqs, page.cursor)
    };
    let since = Some("1970-01-01T00:00:00.000000300Z");
    assert_eq!(ask("1.9", None).0, [1, 2, 3, 4, 5, 6]);
    assert_eq!(ask("1.9", since).0, [3, 4, 5, 6]);
    // Of its own life's arrivals a cursor hides none: a node's backlog is hours old.
    assert_eq!(ask("2.4", since).0, [5, 6]);
    let (_, next) = ask("2.4", since);
    ring.arrived(access(7, 1, "CRED", "shop"), 1, NOW);
    assert_eq!(ask(&next, since).0, [7]);
}

/// A node's clock was ahead: what it sent then is as new as when it came, and no newer.
#[test]
fn what_is_stamped_in_the_future_is_not_newer_than_what_comes_later() {
    let ring = AuditRing::of_life(1);
    let second = 1_000_000_000;
    let now = |seconds: u64| NOW + seconds * second;
    let line = access(1, now(9999), "CRED", "shop").to_document();
    ring.load(std::iter::once(line.to_string().as_str()), now(1));
    ring.arrived(access(2, now(9999), "CRED", "shop"), 1, now(2));
    ring.arrived(access(3, now(60), "CRED", "shop"), 1, now(61));
    // Late, and shown where it happened.
    ring.arrived(access(4, now(50), "CRED", "shop"), 1, now(70));
    let ask = |since: Option<&str>| {
        let query = AuditQuery {
            since: since.map(str::to_owned),
            ..AuditQuery::default()
        };
        let (found, _) = ring.query(&query, &Seen::All, now(80)).unwrap();
        let seqs: Vec<u64> = found.iter().map(|record| record.id.seq).collect();
        seqs
    };
    assert_eq!(ask(None), [3, 4, 2, 1]);
    assert_eq!(ask(Some("35s")), [3, 4]);
}

#[test]
fn long_events_push_older_ones_out_by_their_bytes() {
    let ring = AuditRing::default();
    let long = "x".repeat(audit::MAX_RING_BYTES / 6);
    for seq in 1..=4 {
        ring.push(access(seq, seq, "CRED", &long));
    }
    let (found, _) = ring.query(&AuditQuery::default(), &Seen::All, NOW).unwrap();
    let seqs: Vec<u64> = found.iter().map(|record| record.id.seq).collect();
    assert_eq!(seqs, [4, 3]);
}

#[test]
fn documents_are_read_back_and_others_refused() {
    let record = access(4, 1_767_571_200_123_456_789, "CRED", "shop");
    let line = record.to_document().to_string();
    assert_eq!(
        AuditRecord::from_document(&serde_json::from_str(&line).unwrap()).ok(),
        Some(record)
    );
    let ring = AuditRing::default();
    assert_eq!(
        ring.load(
            [line.as_str(), "", "{\"time\":1}", "not json"].into_iter(),
            u64::MAX
        ),
        2
    );
    assert_eq!(
        ring.query(&AuditQuery::default(), &Seen::All, NOW)
            .unwrap()
            .0
            .len(),
        1
    );
}

/// Whoever sees one namespace does not learn from the cursor how much happens in the others.
#[test]
fn a_cursor_tells_of_what_is_seen_and_nothing_else() {
    let ring = AuditRing::of_life(7);
    let only = Seen::Only(std::collections::BTreeSet::from(["shop".to_owned()]));
    let page = |after: Option<&str>| {
        let query = AuditQuery {
            after: after.map(str::to_owned),
            ..AuditQuery::default()
        };
        let page = ring.page(&query, &only, NOW).unwrap();
        (page.found.len(), page.cursor)
    };
    ring.push(access(1, NOW, "CRED", "shop"));
    let (found, cursor) = page(None);
    assert_eq!(found, 1);
    for seq in 2..50 {
        ring.push(access(seq, NOW, "CRED", "data"));
    }
    assert_eq!(page(Some(&cursor)), (0, cursor.clone()));
    ring.push(access(50, NOW, "CRED", "shop"));
    let (found, next) = page(Some(&cursor));
    assert_eq!(found, 1);
    assert_eq!(page(Some(&next)), (0, next.clone()));
}
