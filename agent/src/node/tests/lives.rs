//! Cgroups that come and go, as far as the node has to put the parts in order.
#![expect(clippy::disallowed_methods, reason = "tests move folders")]

use super::*;

#[test]
fn a_renamed_container_ends_and_begins() {
    let mut stage = Stage::new(&[("cpu.stat", "usage_usec 500\n")]);
    stage.node.sample();
    let renamed = stage
        .container
        .with_file_name(format!("crio-{}.scope", "b".repeat(64)));
    std::fs::rename(&stage.container, &renamed).unwrap();
    let files = stage.node.sampler.counters().samples;
    stage.node.rescan();
    let last = stage.node.out.iter().any(|output| match output {
        Output::Window(window) => window.last,
        Output::Event(..) => false,
    });
    assert!(last, "{:?}", stage.node.out);
    let events = stage.events();
    let [AuditEvent::ContainerEnd(end)] = events.as_slice() else {
        panic!("{events:?}");
    };
    assert_eq!(end.identity.container_id(), Some("a".repeat(64).as_str()));
    stage.node.sample();
    assert_eq!(stage.node.sampler.counters().samples, files + 1);
    let id = std::fs::metadata(&renamed).unwrap().ino();
    let identity = stage
        .node
        .containers
        .index()
        .get(id)
        .map(|entry| &entry.identity);
    assert_eq!(
        identity.and_then(Identity::container_id),
        Some("b".repeat(64).as_str())
    );
}

/// The walk found it before its record was drained.
#[test]
fn a_record_that_comes_after_the_walk_still_makes_it_young() {
    let mut stage = Stage::new(&[
        ("cpu.stat", "usage_usec 500\n"),
        ("memory.current", "4096\n"),
        ("memory.peak", "9000\n"),
    ]);
    stage.node.tick();
    assert_eq!(stage.node.sampler.counters().young_looks, 0, "only found");
    let path = format!("/{POD}/cri-containerd-{}.scope", "a".repeat(64));
    let record = Cgroup {
        header: Header {
            cgroup_id: std::fs::metadata(&stage.container).unwrap().ino(),
            ktime_ns: monotonic_ns(),
            ..header::<Cgroup>(KIND_CGROUP_MKDIR, path.len())
        },
        path_len: u32::try_from(path.len()).unwrap(),
        ..Cgroup::default()
    };
    stage.feed("process", &bytes(&record, path.as_bytes()));
    stage.node.tick();
    assert_eq!(stage.node.sampler.counters().young_looks, 1);
    stage.node.sample();
    stage.node.containers.finish(&mut stage.node.out);
    let windows = stage.node.out.iter().filter_map(|output| match output {
        Output::Window(window) => Some((window.phase, window.memory.lifetime_peak_bytes)),
        Output::Event(..) => None,
    });
    let startup = (plimsoll_wire::usage::Phase::Startup, Some(9000));
    assert!(windows.into_iter().all(|seen| seen == startup));
}

/// The heartbeat is the last that counts the rings: what was lost in the last drain is told with it.
#[test]
fn no_heartbeat_counts_a_loss_that_is_not_told() {
    let mut stage = Stage::new(&[]);
    stage.node.sample();
    let told = |stage: &mut Stage| {
        let events = stage.events().into_iter();
        events
            .filter_map(|event| match event {
                AuditEvent::Loss(loss) => Some((loss.fate, loss.count)),
                _ => None,
            })
            .collect::<Vec<_>>()
    };
    assert_eq!(told(&mut stage), []);
    let counters = stage.node.ring_counters.get_or_insert_default();
    counters[usize::from(KIND_SEGMENT)] = Counters {
        emitted: 7,
        lost: 7,
    };
    stage.feed("security", b"no record");
    stage.node.heartbeat(false);
    let want = [("lost".to_owned(), 7), ("undecodable".to_owned(), 1)];
    assert_eq!(told(&mut stage), want);
    stage.node.sample();
    assert_eq!(told(&mut stage), [], "once");
}

#[test]
fn a_burst_costs_no_memory_for_ever() {
    let mut stage = Stage::new(&[]);
    for _ in 0..4096 {
        stage.node.hold_evidence(&bytes(&oom(), b""));
    }
    stage.node.settle(Vec::new(), Some(monotonic_ns()));
    assert_eq!(stage.node.out.len(), 4096);
    stage.node.write();
    let kept = (stage.node.evidence.capacity(), stage.node.out.capacity());
    assert!(
        kept.0 <= drain::KEPT_EVIDENCE && kept.1 <= KEPT_OUTPUTS,
        "{kept:?}"
    );
}
