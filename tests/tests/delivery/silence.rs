//! An agent that is stopped without a word is an audit event within half a minute, and one more when it is back.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;

use crate::collector::{Collector, wait_until};
use crate::emitter::{Emitter, Way};

/// What was noticed of agents, in order.
fn noticed(collector: &Collector) -> Vec<(String, String)> {
    let text = |line: &Value, member: &str| line[member].as_str().unwrap().to_owned();
    let written = collector.written();
    let notices = written.iter().filter(|line| line["event"] == "agent");
    notices
        .map(|line| (text(line, "state"), text(line, "agent_node")))
        .collect()
}

#[test]
fn a_stopped_agent_is_told_within_half_a_minute_and_once_more_when_it_is_back() {
    let folder = tempfile::tempdir().unwrap();
    let mut collector = Collector::new(&folder.path().join("collector"));
    collector.start();
    let way = Way {
        endpoint: format!("http://127.0.0.1:{}", collector.otlp),
        token: collector.token(),
        ca: None,
        server_name: None,
        environment: Vec::new(),
    };
    let emitter = Emitter::start(&folder.path().join("spool"), &way, 1, 1_000_000);
    wait_until("some came", || collector.written().len() > 10);
    emitter.signal(Signal::STOP);
    let begin = Instant::now();
    let silent = ("silent".to_owned(), "node-1".to_owned());
    wait_until("it is told", || noticed(&collector) == [silent.clone()]);
    let took = begin.elapsed();
    assert!(took < Duration::from_secs(30), "{took:?}");
    assert!(took > Duration::from_secs(20), "{took:?}");
    assert_eq!(collector.metric("agents_silent"), Some(1));
    emitter.signal(Signal::CONT);
    let back = ("back".to_owned(), "node-1".to_owned());
    let both = [silent, back];
    wait_until("it is back", || noticed(&collector) == both);
    emitter.kill();
}
