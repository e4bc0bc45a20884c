//! The nodes' last words: which of them counts, when it was heard, which is let go of.

use plimsoll_wire::event::Heartbeat;

use super::*;

fn heartbeat(containers: u64) -> Heartbeat {
    Heartbeat {
        agent_started_unix_ns: 0,
        boot_id: "b".to_owned(),
        version: "0.1.0".to_owned(),
        kernel: "6.12".to_owned(),
        stages: vec![],
        degraded: vec!["psi: not in this kernel".to_owned()],
        containers,
        agent_cpu_ns: None,
        agent_rss_bytes: None,
        ends: false,
    }
}

/// A spool that was made anew is no second agent; one that comes back beside it is. It is seen when the
/// collector gets it, whatever the node's clock says.
#[test]
fn two_agents_of_one_name_are_noticed() {
    const HOUR: u64 = 60 * 60_000_000_000;
    let ring = AuditRing::default();
    let beat = |epoch: &str, seq, time| {
        let mut record = access(seq, time, "", "shop");
        record.id.epoch = epoch.to_owned();
        record.event = AuditEvent::Heartbeat(heartbeat(1));
        record
    };
    let hear = |epoch: &str, seq, arrived| {
        let behind_or_ahead = if epoch == "aa" { 1 } else { arrived + HOUR };
        ring.arrived(beat(epoch, seq, behind_or_ahead), 1, arrived);
        ring.nodes()[0].two_agents_unix_ns
    };
    assert_eq!(hear("aa", 1, 10), None);
    assert_eq!(hear("bb", 1, 20), None);
    assert_eq!(hear("bb", 2, 30), None);
    assert_eq!(hear("aa", 1, 40), None, "a repeat of what was heard");
    ring.push(beat("bb", 3, 45));
    assert_eq!(
        ring.nodes()[0].two_agents_unix_ns,
        None,
        "nobody knows when"
    );
    assert_eq!(hear("aa", 2, 50), Some(50));
    assert_eq!(hear("bb", 4, 60), Some(60));
    assert_eq!(hear("bb", 5, 70), Some(60));
    assert!(ring.nodes()[0].has_two_agents(61));
    assert_eq!(ring.nodes_with_two_agents(61), 1);
    assert!(!ring.nodes()[0].has_two_agents(60 + HOUR / 4));
}

#[tokio::test]
async fn nodes_are_their_last_heartbeat() {
    let dir = tempfile::tempdir().unwrap();
    let state = state(&dir);
    for (seq, time, containers) in [
        (1, 5_000_000_000, 3),
        (3, 7_000_000_000, 4),
        // Told before it and come after it; and a clock that was ahead then.
        (2, 9_000_000_000, 5),
    ] {
        let mut record = access(seq, time, "CRED", "shop");
        record.event = AuditEvent::Heartbeat(heartbeat(containers));
        state.audit.push(record);
    }
    let (_, document) = get_json(state, "/api/v1/nodes").await;
    assert_eq!(document["nodes"].as_array().unwrap().len(), 1);
    assert_eq!(document["nodes"][0]["last_seen"], "1970-01-01T00:00:07Z");
    assert_eq!(document["nodes"][0]["heartbeat"]["containers"], 4);
    assert_eq!(document["nodes"][0]["two_agents"], false);
}

/// Node, when it said so by its own clock, when the collector got it.
fn hear(ring: &AuditRing, node: &str, seq: u64, said: u64, arrived: u64) {
    let mut record = access(seq, said, "", "shop");
    node.clone_into(&mut record.id.node);
    record.event = AuditEvent::Heartbeat(heartbeat(1));
    ring.arrived(record, 1, arrived);
}

/// A node whose clock is ahead, and which has died, is silent; one whose clock is behind is not.
#[test]
fn a_node_was_heard_when_it_was_and_not_when_its_clock_says() {
    const S: u64 = 1_000_000_000;
    let ring = AuditRing::default();
    hear(&ring, "ahead", 1, NOW + 7200 * S, NOW);
    hear(&ring, "behind", 1, NOW - 240 * S, NOW);
    let silent: Vec<u64> = ring
        .nodes()
        .iter()
        .map(|n| n.silent_s(NOW + 9 * S))
        .collect();
    assert_eq!(silent, [9, 9]);
    let [ahead, _] = ring.nodes().try_into().unwrap();
    assert_eq!(ahead.time_unix_ns, NOW + 7200 * S, "for its CPU share");
    // What an earlier life left in the file, it heard before it was written.
    let ring = AuditRing::default();
    let mut record = access(1, NOW + 7200 * S, "", "shop");
    record.event = AuditEvent::Heartbeat(heartbeat(1));
    ring.load(
        std::iter::once(record.to_document().to_string().as_str()),
        NOW,
    );
    assert_eq!(ring.nodes()[0].heard_unix_ns, NOW);
}

/// Names of the nodes that are kept, and how many were let go of.
fn kept(ring: &AuditRing) -> (Vec<String>, u64) {
    let names = ring.nodes().into_iter().map(|status| status.node);
    (names.collect(), ring.nodes_let_go())
}

#[test]
fn a_node_that_was_not_heard_for_a_day_is_let_go_of() {
    const HOUR: u64 = 3600 * 1_000_000_000;
    let ring = AuditRing::default();
    hear(&ring, "gone", 1, 0, NOW);
    hear(&ring, "here", 1, 0, NOW + HOUR);
    hear(&ring, "here", 2, 0, NOW + 24 * HOUR - 1);
    assert_eq!(kept(&ring).0, ["gone", "here"]);
    hear(&ring, "here", 3, 0, NOW + 24 * HOUR + HOUR / 60);
    assert_eq!(kept(&ring), (vec!["here".to_owned()], 1));
    // A clock that was set back makes nobody old.
    hear(&ring, "new", 1, 0, NOW);
    assert_eq!(kept(&ring).0, ["here", "new"]);
}

#[test]
fn of_too_many_nodes_the_one_that_was_not_heard_longest_goes() {
    let ring = AuditRing::default();
    for n in 0..audit::MAX_NODES as u64 {
        hear(&ring, &format!("n{n}"), 1, 0, NOW + n);
    }
    hear(&ring, "n0", 2, 0, NOW + 20_000);
    hear(&ring, "newcomer", 1, 0, NOW + 20_001);
    let (names, let_go) = kept(&ring);
    assert_eq!((names.len(), let_go), (audit::MAX_NODES, 1));
    let is_kept = |name: &str| names.iter().any(|kept| kept == name);
    assert_eq!(
        ["n0", "n1", "n2", "newcomer"].map(is_kept),
        [true, false, true, true]
    );
}
