//! Bytes and texts that are not what they should be: each is counted once.

use super::*;

/// The same record with its header's length made to agree with the bytes.
fn agreeing(mut record: Vec<u8>) -> Vec<u8> {
    let len = u32::try_from(record.len()).unwrap().to_ne_bytes();
    record[4..8].copy_from_slice(&len);
    record
}

#[test]
fn malformed_records_of_either_ring_are_counted_one_by_one() {
    let whole = [
        ("security", bytes(&connect(), b"")),
        ("security", bytes(&oom(), b"")),
        ("security", segment(5, b"GET /")),
        ("process", cgroup(KIND_CGROUP_MKDIR, 2, b"/a")),
        ("process", cgroup(KIND_CGROUP_RMDIR, 2, b"/a")),
    ];
    let mut cases: Vec<(&str, &str, Vec<u8>)> = Vec::new();
    for (ring, record) in &whole {
        let last = record.len() - 1;
        cases.push((ring, "nothing", Vec::new()));
        cases.push((ring, "less than a header", record[..31].to_vec()));
        cases.push((ring, "a header alone", record[..32].to_vec()));
        cases.push((
            ring,
            "a header that says so",
            agreeing(record[..32].to_vec()),
        ));
        cases.push((ring, "a byte less", record[..last].to_vec()));
        cases.push((
            ring,
            "a byte less, and says so",
            agreeing(record[..last].to_vec()),
        ));
        let longer = [record.as_slice(), b"x"].concat();
        cases.push((ring, "a byte more", longer.clone()));
        cases.push((ring, "a byte more, and says so", agreeing(longer)));
        let mut other = record.clone();
        other[0] ^= 0xff;
        cases.push((ring, "another version", other));
        let mut other = record.clone();
        other[2..4].copy_from_slice(&99_u16.to_ne_bytes());
        cases.push((ring, "an unknown kind", other));
        let wrong = if *ring == "security" {
            "process"
        } else {
            "security"
        };
        cases.push((wrong, "the wrong ring", record.clone()));
    }
    cases.push(("security", "a tail said longer", segment(6, b"GET /")));
    cases.push((
        "security",
        "a tail said endless",
        segment(u32::MAX as usize, b"GET /"),
    ));
    let long = vec![b'a'; SEGMENT_CAPTURE_BYTES + 1];
    cases.push(("security", "a tail too long", segment(long.len(), &long)));
    let long = vec![b'a'; CGROUP_PATH_BYTES + 1];
    for kind in [KIND_CGROUP_MKDIR, KIND_CGROUP_RMDIR] {
        cases.push((
            "process",
            "a path too long",
            cgroup(kind, long.len(), &long),
        ));
        cases.push(("process", "a path said longer", cgroup(kind, 9, b"/a")));
    }
    let mut stage = Stage::new(&[]);
    stage.node.ring_counters = Some([Counters::default(); KINDS]);
    let mut want = [0, 0];
    for (ring, what, record) in &cases {
        stage.feed(ring, record);
        want[usize::from(*ring == "process")] += 1;
        let found = ["security", "process"]
            .map(|ring| stage.count(&format!("{ring}_ring"), ring, "undecodable"));
        assert_eq!(found, want, "{ring}: {what}");
    }
    assert_eq!(stage.events(), [], "no record is made of them");
    stage.node.tell_losses();
    let told: Vec<u64> = stage
        .events()
        .iter()
        .map(|event| match event {
            AuditEvent::Loss(loss) if loss.fate == "undecodable" => loss.count,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(told, want, "and the audit stream says how many");
}

const PRESSURE: &str = "some avg10=0.00 avg60=0.00 avg300=0.00 total=7\n";

#[test]
fn malformed_cgroup_files_are_counted_one_by_one() {
    let fine = [
        (
            "cpu.stat",
            "usage_usec 500\n",
            "usage_usec\u{a0}5\nusage_usec -5\n",
        ),
        ("memory.current", "4096\n", "4096 4096\n"),
        ("memory.peak", "4096\n", "peak\n"),
        ("memory.max", "max\n", "min\n"),
        (
            "memory.events",
            "oom_kill 0\n",
            "oom_kill 99999999999999999999\n",
        ),
        ("memory.stat", "anon 1\nfile 2\n", "anon one\n"),
        ("cpu.pressure", PRESSURE, "some total=\n"),
        ("memory.pressure", PRESSURE, "some total=x\n"),
        ("io.pressure", PRESSURE, "full total=1e9\n"),
        ("io.stat", "8:0 rbytes=1 wbytes=2\n", "8:0 rbytes=0x1\n"),
        ("pids.current", "5\n", "\u{0}\n"),
    ];
    let files = fine.map(|(name, text, _)| (name, text));
    for (name, _, bad) in fine {
        let mut stage = Stage::new(&files);
        std::fs::write(stage.container.join(name), bad).unwrap();
        stage.node.sample();
        assert_eq!(stage.count("files", "usage", "undecodable"), 1, "{name}");
        assert_eq!(
            stage.metric("plimsoll_agent_parse_errors_total "),
            1,
            "{name}"
        );
        // Without memory.current the three that go by it are not read.
        let skipped = if name == "memory.current" { 3 } else { 0 };
        assert_eq!(
            stage.count("files", "usage", "delivered"),
            10 - skipped,
            "{name}"
        );
        assert_eq!(stage.metric("plimsoll_agent_samples_total "), 1, "{name}");
    }
}

#[test]
fn malformed_files_of_processes_are_counted() {
    // No memory controller: the processes are added up instead.
    let mut stage = Stage::new(&[("cpu.stat", "usage_usec 1\n"), ("cgroup.procs", "12\n")]);
    let put = |stage: &Stage, name: &str, text: &[u8]| {
        let path = stage.folder.path().join("proc").join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    put(&stage, "12/status", b"RssAnon:\t lots kB\n");
    stage.node.sample();
    assert_eq!(stage.count("files", "usage", "undecodable"), 1, "status");
    put(&stage, "12/status", b"RssAnon:\t 1 kB\n");
    std::fs::write(stage.container.join("cgroup.procs"), "twelve\n").unwrap();
    stage.node.sample();
    assert_eq!(
        stage.count("files", "usage", "undecodable"),
        2,
        "cgroup.procs"
    );

    let undecodable = |stage: &Stage| stage.count("files", "security", "undecodable");
    assert_eq!(undecodable(&stage), 0);
    for (text, want) in [
        (b"42 curl S".as_slice(), 1),
        (b"\xff\xff(\xff", 2),
        (b"", 3),
    ] {
        put(&stage, "42/stat", text);
        stage.feed("security", &bytes(&connect(), b""));
        assert_eq!(undecodable(&stage), want);
    }
    // The victim of a kill: its cgroup is no text, nor is its status, nor its stat.
    put(&stage, "42/cgroup", b"0::/\xff\xfe\n");
    put(&stage, "42/status", b"Tgid: 42\n");
    stage.feed("security", &bytes(&oom(), b""));
    assert_eq!(undecodable(&stage), 6);
    put(&stage, "42/status", b"Tgid:\t42\n");
    stage.feed("security", &bytes(&oom(), b""));
    assert_eq!(undecodable(&stage), 8);
    put(&stage, "42/cgroup", b"0::/a/b\n");
    stage.feed("security", &bytes(&oom(), b""));
    assert_eq!(undecodable(&stage), 9);
    let kills = stage.events();
    assert_eq!(kills.len(), 3, "{kills:?}");
}
