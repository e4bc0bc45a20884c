//! Events that wait for the names of their pods.

use std::sync::atomic::AtomicBool;

use super::*;
use crate::ingest::placed::{Elsewhere, Pods};

const WAIT: Duration = Duration::from_secs(10);

/// A sink that waits for the names of the pods that are not `learnt`, by their UID.
struct Waiting {
    store: Store,
    reader: Arc<Reader>,
    publisher: Publisher,
    file: Arc<Reader<Trail>>,
    sink: FileSink,
    path: PathBuf,
    learnt: Arc<Mutex<BTreeSet<String>>>,
    interrupted: Arc<AtomicBool>,
    _folder: tempfile::TempDir,
}

impl Waiting {
    fn begin() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let life = Life::begin(folder.path());
        let learnt = Arc::<Mutex<BTreeSet<String>>>::default();
        let known = Arc::clone(&learnt);
        let pending = move |event: &AuditEvent| {
            let subject = &join::identity_of(event).unwrap().subject;
            matches!(subject, Subject::Pod { pod_uid, .. } if !known.lock().unwrap().contains(pod_uid))
        };
        let interrupted = Arc::<AtomicBool>::default();
        let away = Arc::clone(&interrupted);
        let wait = publish::NameWait {
            within: WAIT,
            pending: Arc::new(pending),
            listing: Arc::new(|| false),
            interrupted: Arc::new(move || away.load(Ordering::Relaxed)),
        };
        Self {
            store: life.store,
            reader: life.security,
            publisher: life.publisher.waiting(wait),
            file: life.file,
            sink: life.sink,
            path: folder.path().join("audit/audit.jsonl"),
            learnt,
            interrupted,
            _folder: folder,
        }
    }

    /// An event of that pod, which happened so long before it arrives; the time of its arrival.
    fn arrive(&self, seq: u64, pod: &str, age: Duration) -> u64 {
        let event = AuditEvent::ContainerEnd(ContainerEnd {
            identity: Identity {
                cgroup_id: 7,
                cgroup_path: None,
                subject: Subject::Pod {
                    pod_uid: pod.to_owned(),
                    qos: Qos::Burstable,
                },
            },
            started_unix_ns: None,
            cpu_used_ns: None,
            memory_peak_bytes: None,
        });
        let age = u64::try_from(age.as_nanos()).unwrap();
        let mut record = logs::encode(&event, api::unix_ns() - age);
        let stream = id::StreamId {
            epoch: "00112233445566778899aabbccddeeff".to_owned(),
            class: Class::Security,
            seq,
        };
        id::stamp(&mut record.attributes, &stream);
        let envelope = decode::envelope(record, records::NODE);
        let arrival = Arrival {
            class: Class::Security,
            records: decode::security(vec![envelope], records::NODE, &Pods::default()).records,
            others: Vec::new(),
        };
        self.store.commit(&[arrival]).unwrap();
        let batch = self.store.read(Class::Security, seq, 1, 1 << 20).unwrap();
        batch.records[0].time_unix_ns
    }

    /// Carries until nothing more goes at that time; the numbers of the events that are in the file then.
    fn written_at(&mut self, now_unix_ns: u64) -> Vec<u64> {
        let now = Some(now_unix_ns);
        while self.reader.carry_some(&mut self.publisher, now).unwrap() == Carried::Some {}
        while self.file.carry_some(&mut self.sink, now).unwrap() == Carried::Some {}
        let text = std::fs::read_to_string(&self.path).unwrap_or_default();
        let lines = text.lines().map(|line| {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            let id = line["id"].as_str().unwrap();
            id.rsplit('/').next().unwrap().parse().unwrap()
        });
        lines.collect()
    }
}

const SECOND: u64 = 1_000_000_000;

#[test]
fn an_event_waits_for_its_name_in_its_place_and_no_longer_than_its_time() {
    let mut waiting = Waiting::begin();
    waiting.learnt.lock().unwrap().insert("known".to_owned());
    waiting.arrive(1, "known", Duration::ZERO);
    let arrived = waiting.arrive(2, "new", Duration::ZERO);
    waiting.arrive(3, "known", Duration::ZERO);
    let unknown = waiting.arrive(4, "never", Duration::ZERO);
    assert_eq!(waiting.written_at(arrived), [1], "the order stays");
    assert_eq!(waiting.reader.state().stuck_since_unix_ns, None);
    assert_eq!(waiting.reader.fates().in_flight, 3);
    assert_eq!(waiting.written_at(arrived + 9 * SECOND), [1]);
    waiting.learnt.lock().unwrap().insert("new".to_owned());
    assert_eq!(waiting.written_at(arrived + 9 * SECOND), [1, 2, 3]);
    assert_eq!(waiting.written_at(unknown + 10 * SECOND - 1), [1, 2, 3]);
    assert_eq!(waiting.written_at(unknown + 10 * SECOND), [1, 2, 3, 4]);
    assert_eq!(waiting.reader.fates().unaccounted(), 0);
}

/// Names come when the API server is there again, if that is soon.
#[test]
fn while_names_are_not_told_an_event_waits_longer() {
    let mut waiting = Waiting::begin();
    waiting.interrupted.store(true, Ordering::Relaxed);
    let arrived = waiting.arrive(1, "new", Duration::ZERO);
    assert_eq!(waiting.written_at(arrived + 10 * SECOND), [0; 0]);
    assert_eq!(waiting.written_at(arrived + 60 * SECOND - 1), [0; 0]);
    assert_eq!(waiting.written_at(arrived + 60 * SECOND), [1]);
    let arrived = waiting.arrive(2, "new", Duration::ZERO);
    assert_eq!(waiting.written_at(arrived + 10 * SECOND), [1]);
    waiting.interrupted.store(false, Ordering::Relaxed);
    assert_eq!(waiting.written_at(arrived + 10 * SECOND), [1, 2]);
}

/// Each waits for its own time, counted from its own arrival: they all wait at once.
#[test]
fn a_stream_of_unknown_pods_is_late_and_not_slow() {
    let mut waiting = Waiting::begin();
    let arrivals: Vec<u64> = (1..=40)
        .map(|seq| waiting.arrive(seq, &format!("pod-{seq}"), Duration::ZERO))
        .collect();
    assert_eq!(waiting.written_at(arrivals[39]), [0; 0]);
    let first_ten: Vec<u64> = (1..=10).collect();
    assert_eq!(waiting.written_at(arrivals[9] + 10 * SECOND), first_ten);
    assert_eq!(waiting.written_at(arrivals[39] + 10 * SECOND).len(), 40);
}

#[test]
fn a_backlog_does_not_wait_nor_does_anything_when_the_clock_was_set_back() {
    let mut waiting = Waiting::begin();
    let arrived = waiting.arrive(1, "old", WAIT);
    assert_eq!(waiting.written_at(arrived), [1]);
    let arrived = waiting.arrive(2, "new", Duration::ZERO);
    assert_eq!(waiting.written_at(arrived), [1]);
    assert_eq!(waiting.written_at(arrived - 3600 * SECOND), [1, 2]);
}

/// At the end nothing is held back: the file has what the journal has.
#[tokio::test]
async fn the_end_waits_for_no_name() {
    let waiting = Waiting::begin();
    waiting.arrive(1, "new", Duration::ZERO);
    let stop = CancellationToken::new();
    stop.cancel();
    let written = waiting.sink.written();
    Arc::clone(&waiting.reader)
        .carry(waiting.publisher, stop.clone())
        .await
        .unwrap();
    Arc::clone(&waiting.file)
        .carry(waiting.sink, stop)
        .await
        .unwrap();
    assert_eq!(written.lines.load(Ordering::Relaxed), 1);
}

/// What the door did not know yet is found when the event is published, once for each event, and told like what
/// the door finds.
#[test]
fn an_event_that_turns_out_to_be_of_another_nodes_pod_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let life = Life::begin(folder.path());
    let join = |_: &str, event: &AuditEvent| publish::Known {
        elsewhere: join::identity_of(event).map(|identity| Elsewhere {
            pod_uid: identity.pod_uid().unwrap().to_owned(),
            node: "node-2".to_owned(),
        }),
        ..publish::Known::default()
    };
    let finds = life.store.clone();
    let trail = life.file.source().clone();
    let mut waiting = Waiting {
        publisher: Publisher::new(trail, Arc::new(join))
            .telling(Arc::new(move |node, pod| finds.found_elsewhere(node, pod))),
        store: life.store,
        reader: life.security,
        file: life.file,
        sink: life.sink,
        path: folder.path().join("audit/audit.jsonl"),
        learnt: Arc::default(),
        interrupted: Arc::default(),
        _folder: folder,
    };
    let first = waiting.arrive(1, "theirs", Duration::ZERO);
    waiting.arrive(2, "theirs", Duration::ZERO);
    assert_eq!(waiting.written_at(first), [1, 2]);
    waiting.store.maintain().unwrap();
    // The finding is the collector's first.
    assert_eq!(waiting.written_at(first), [1, 2, 1]);
    let told = waiting.store.read(Class::Security, 3, 1, 1 << 20).unwrap();
    let (id, _, told) = decode::audit_event(&told.records[0].payload).unwrap();
    assert_eq!(id.node, crate::ingest::dedupe::OWN_NODE);
    let AuditEvent::Misplaced(told) = told else {
        panic!("{told:?}");
    };
    assert_eq!((told.sender.as_str(), told.count), (records::NODE, 2));
    assert_eq!(
        (told.pod_uid.as_str(), told.pod_node.as_str()),
        ("theirs", "node-2")
    );
}
