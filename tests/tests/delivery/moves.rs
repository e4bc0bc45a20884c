//! A collector's node is drained: the collector ends as it is told to, its volume goes to another node, and
//! the next one begins there at the same address. Agents send all the time.

use std::collections::BTreeMap;
use std::path::Path;

use crate::collector::{Collector, wait_until};
use crate::emitter::{Emitter, Way};
use crate::kills::{LIFE, assert_accounted, assert_each_once, read};

/// Drains.
const MOVES: u32 = 3;
/// Records of each agent between two of them.
const BETWEEN: u32 = 300;

/// A collector on another node, which gets the address of the one before.
fn elsewhere(folder: &Path, before: &Collector) -> Collector {
    let mut next = Collector::new(folder);
    next.otlp = before.otlp;
    next
}

#[test]
fn a_volume_that_moves_while_agents_send_loses_nothing_and_doubles_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut collector = Collector::new(&folder.path().join("node-0"));
    collector.start();
    let way = Way {
        endpoint: format!("http://127.0.0.1:{}", collector.otlp),
        token: collector.token(),
        ca: None,
        server_name: None,
        environment: Vec::new(),
    };
    let spool = |life: u32| folder.path().join(format!("spool-{life}"));
    let emitters = [0, 1].map(|life| Emitter::start(&spool(life), &way, life * LIFE + 1, LIFE));
    for moved in 1..=MOVES {
        let marks = [0, 1].map(|life| life * LIFE + moved * BETWEEN);
        let written = collector.written().len();
        wait_until("both agents send, and it writes", || {
            let sent = emitters
                .iter()
                .zip(marks)
                .all(|(of, mark)| of.durable() >= mark);
            sent && collector.written().len() > written
        });
        assert!(collector.terminate().success(), "{}", collector.log());
        let mut next = elsewhere(&folder.path().join(format!("node-{moved}")), &collector);
        std::fs::rename(&collector.state, &next.state).unwrap();
        next.start();
        collector = next;
    }
    let durable: BTreeMap<u32, u32> = emitters
        .map(Emitter::kill)
        .into_iter()
        .zip(0..)
        .map(|(last, life)| (life, last - life * LIFE))
        .collect();
    for life in [0, 1] {
        let mut rest = Emitter::start(&spool(life), &way, 1, 0);
        wait_until("the spool is emptied", || rest.ended().is_some());
        assert!(rest.ended().unwrap().success(), "{}", rest.log());
    }
    wait_until("the journal is emptied", || collector.is_idle());
    let (written, torn) = read(&collector);
    assert_each_once(written, &durable);
    assert_accounted(&collector, &torn);
}

/// Two pods with one volume, as a forced deletion may leave them: the second is told so and ends, and the
/// first goes on.
#[test]
fn one_collector_alone_writes_to_a_volume() {
    let folder = tempfile::tempdir().unwrap();
    let mut first = Collector::new(&folder.path().join("first"));
    first.start();
    wait_until("it lives", || first.status_for("/livez", None) == Some(200));
    let mut second = Collector::new(&folder.path().join("second"));
    second.state.clone_from(&first.state);
    second.start();
    assert_eq!(second.wait().code(), Some(1), "{}", second.log());
    let log = second.log();
    let said = "another process has this folder open";
    assert!(
        log.contains(said) && log.contains(first.state.to_str().unwrap()),
        "{log}"
    );
    assert_eq!(first.status_for("/readyz", None), Some(200));
    assert!(first.terminate().success());
    second.start();
    wait_until("it has the volume", || {
        second.status_for("/readyz", None) == Some(200)
    });
}
