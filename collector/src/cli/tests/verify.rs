//! `plimsoll audit verify` on real files, on a trail's folder, and on what a collector says.

use plimsoll_journal::FileStorage;
use serde_json::{Value, json};

use super::*;
use crate::reader::Source as _;
use crate::trail::entry::Entry;
use crate::trail::{Draft, Settings, Trail, new_epoch};

const START: u64 = 1_764_561_234_000_000_000;

fn open(folder: &std::path::Path, life: u64) -> Trail {
    let settings = Settings {
        readers: vec!["all".to_owned()],
        max_bytes: 1 << 30,
        max_age_ns: None,
        epoch: new_epoch(START + life * 1_000_000_000, life),
        new_journal_epoch: "aa".repeat(16),
        version: "0",
    };
    let storage = |name: &str| FileStorage::open(&folder.join(name)).unwrap();
    Trail::open(storage("trail"), storage("keys"), settings)
        .unwrap()
        .0
}

fn publish(trail: &Trail, count: u64) {
    let drafts = (1..=count).map(|seq| Draft {
        event: json!({"class_uid": 4002, "time": 1, "unmapped": {}})
            .as_object()
            .unwrap()
            .clone(),
        document: "{}".to_owned(),
        time_unix_ns: START,
        source_seq: seq,
    });
    trail.publish(drafts.collect(), "s", START).unwrap();
    trail.close(START).unwrap();
}

/// The lines of a closed chain of five events.
fn lines(folder: &std::path::Path) -> Vec<String> {
    let trail = open(folder, 1);
    publish(&trail, 5);
    let batch = trail.hand_out("all", 100, 1 << 20).unwrap();
    let bodies = batch
        .records
        .iter()
        .map(|record| Entry::of(&record.payload).unwrap().body);
    bodies.collect()
}

fn verify(arguments: &[&str]) -> (Exit, Value) {
    let (exit, out, err) = call(&[&["audit", "verify", "-o", "json"], arguments].concat());
    let report = serde_json::from_str(&out);
    (exit, report.unwrap_or_else(|_| panic!("{err}")))
}

#[test]
fn files_and_folders_are_read_in_their_order() {
    let dir = tempfile::tempdir().unwrap();
    let lines = lines(dir.path());
    let folder = dir.path().join("lines");
    std::fs::create_dir(&folder).unwrap();
    let write = |name: &str, lines: &[String]| {
        let path = folder.join(name);
        std::fs::write(&path, lines.join("\n") + "\n").unwrap();
        path.display().to_string()
    };
    let oldest = write("audit.jsonl.10", &lines[..2]);
    let older = write("audit.jsonl.9", &lines[2..4]);
    let newest = write("audit.jsonl", &lines[4..]);
    let whole = folder.display().to_string();
    let trail = dir.path().join("trail").display().to_string();
    for paths in [
        vec![oldest.as_str(), &older, &newest],
        vec![&whole],
        vec![&trail],
    ] {
        let (exit, report) = verify(&paths);
        assert_eq!(
            (exit, &report["ok"]),
            (Exit::Success, &json!(true)),
            "{report:#}"
        );
        assert_eq!(
            (&report["events"], &report["checkpoints"]),
            (&json!(7), &json!(2))
        );
        assert_eq!(report["schema"], "plimsoll.audit.verify/v1");
    }
    let (exit, report) = verify(&[&oldest, &newest]);
    assert_eq!(exit, Exit::Found);
    let finding = &report["findings"][0];
    assert_eq!(
        (&finding["kind"], &finding["seq"], &finding["last_seq"]),
        (&json!("gap"), &json!(3), &json!(4))
    );
    let edited = lines[2].replace("4002", "4003");
    let older = write("audit.jsonl.9", &[edited, lines[3].clone()]);
    let (exit, out, _) = call(&["audit", "verify", &whole]);
    assert_eq!(exit, Exit::Found);
    assert!(
        out.contains(&format!("edit {}:3 ({older}, line 1)", epoch_of(&lines[0]))),
        "{out}"
    );
    assert!(out.ends_with("the chain is NOT whole\n"), "{out}");
}

fn epoch_of(line: &str) -> String {
    crate::trail::chain::link(line.as_bytes()).unwrap().epoch
}

#[test]
fn what_is_no_chain_is_an_error_that_says_what_to_give() {
    let dir = tempfile::tempdir().unwrap();
    let own = dir.path().join("audit.jsonl");
    std::fs::write(&own, "{\"event\":\"loss\"}\n").unwrap();
    let path = own.display().to_string();
    for (arguments, words) in [
        (vec![path.as_str()], "has no event with unmapped.chain"),
        (vec!["/nowhere/audit.jsonl"], "read /nowhere/audit.jsonl"),
        (vec![path.as_str(), "--key", "AB"], "--key must be"),
        (vec![path.as_str(), "--head", "a:b"], "--head must be"),
    ] {
        let (exit, out, err) = call(&[&["audit", "verify"], arguments.as_slice()].concat());
        assert_eq!((exit, out.as_str()), (Exit::Usage, ""));
        assert!(err.contains(words), "{err}");
    }
}

/// A collector with that trail, asked.
fn served(trail: &Trail, arguments: &[&str]) -> (Exit, String, String) {
    let dir = tempfile::tempdir().unwrap();
    let history = History::open(&dir.path().join("h.redb"), Limits::default()).unwrap();
    let shown = trail.clone();
    let state = ApiState::new(Arc::new(history), Arc::default())
        .with_chain(Arc::new(move |links| shown.recent(links)));
    let (runtime, listener) = listening();
    let server = format!("http://{}", listener.local_addr().unwrap());
    let serving =
        runtime.spawn(async move { axum::serve(listener, router(Arc::new(state))).await });
    let answer = call(
        &[
            &["audit", "verify", "-o", "json", "--server", &server],
            arguments,
        ]
        .concat(),
    );
    serving.abort();
    answer
}

#[test]
fn a_collector_is_asked_for_its_links_or_how_far_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let lines = lines(dir.path());
    let trail = open(dir.path(), 2);
    let (exit, out, err) = served(&trail, &[]);
    assert_eq!(exit, Exit::Success, "{out}{err}");
    let report: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(report["events"], 7);
    // A copy from before its end, with a checkpoint last.
    let copy = dir.path().join("copy.jsonl");
    std::fs::write(&copy, lines[..1].join("\n")).unwrap();
    let copy = copy.display().to_string();
    assert_eq!(verify(&[&copy]).0, Exit::Success);
    let (exit, out, _) = served(&trail, &[&copy, "--against-collector"]);
    assert_eq!(exit, Exit::Found);
    let report: Value = serde_json::from_str(&out).unwrap();
    let finding = &report["findings"][0];
    assert_eq!(
        (&finding["kind"], &finding["seq"], &finding["last_seq"]),
        (&json!("rollback"), &json!(2), &json!(7))
    );
    let (exit, _, err) = served(&trail, &["--head", "a:1"]);
    assert_eq!(exit, Exit::Usage);
    assert!(err.contains("--head must be"), "{err}");
}

/// Objects of a chain by class, as a sink to Security Lake stores them.
mod objects {
    use super::*;
    use crate::sinks::lake::columns;
    use crate::sinks::lake::object::{Writer, projected};

    fn write(folder: &std::path::Path, class: &str, name: &str, lines: &[&String]) {
        let folder = folder.join(format!(
            "ext/{class}/region=r/accountId=1/eventDay=20251201"
        ));
        std::fs::create_dir_all(&folder).unwrap();
        let file = std::fs::File::create(folder.join(name)).unwrap();
        let table = columns::table(6002).unwrap();
        let mut writer = Writer::new(table, file).unwrap();
        let event = crate::ocsf::event::trail::probe("u", START, "0");
        let (_, event) = projected(&serde_json::to_value(event).unwrap()).unwrap();
        for line in lines {
            writer.add(event.clone(), line).unwrap();
        }
        writer.finish().unwrap();
    }

    /// Two windows of two classes each, of which the second is not in the order of its numbers.
    fn stored(folder: &std::path::Path, of: &[String], without: Option<usize>) {
        let left = |numbers: &[usize]| {
            let left = numbers.iter().filter(|at| Some(**at) != without);
            left.map(|at| &of[*at]).collect::<Vec<_>>()
        };
        write(folder, "a", "e-1.zstd.parquet", &left(&[0, 2, 3]));
        write(folder, "b", "e-2.zstd.parquet", &left(&[1]));
        write(folder, "a", "e-5.zstd.parquet", &left(&[6, 4]));
        write(folder, "b", "e-6.zstd.parquet", &left(&[5]));
    }

    fn findings(path: &std::path::Path) -> (Exit, Vec<Value>) {
        let (exit, report) = verify(&[path.to_str().unwrap()]);
        let findings = report["findings"].as_array().unwrap();
        (
            exit,
            findings
                .iter()
                .map(|finding| finding["kind"].clone())
                .collect(),
        )
    }

    #[test]
    fn a_chain_is_whole_by_the_texts_in_its_objects() {
        let folder = tempfile::tempdir().unwrap();
        let lines = lines(&folder.path().join("collector"));
        assert_eq!(lines.len(), 7);
        let lake = folder.path().join("lake");
        stored(&lake, &lines, None);
        let (exit, report) = verify(&[lake.to_str().unwrap()]);
        assert_eq!(
            (exit, report["events"].as_u64()),
            (Exit::Success, Some(7)),
            "{report:#}"
        );
        // Stored once more with what a killed life had not, and a probe without events.
        write(&lake, "b", "e-1.zstd.parquet", &[&lines[1], &lines[5]]);
        write(&lake, "b", "probe.zstd.parquet", &[]);
        assert_eq!(findings(&lake).0, Exit::Success);
        let one = lake.join("ext/a/region=r/accountId=1/eventDay=20251201/e-1.zstd.parquet");
        assert_eq!(
            findings(&one),
            (Exit::Found, vec![json!("gap"), json!("unsigned_tail")])
        );
    }

    #[test]
    fn a_row_or_an_object_that_is_gone_or_another_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let lines = lines(&folder.path().join("collector"));
        let lake = folder.path().join("a row");
        stored(&lake, &lines, Some(3));
        assert_eq!(findings(&lake), (Exit::Found, vec![json!("gap")]));
        let lake = folder.path().join("an object");
        stored(&lake, &lines, None);
        let gone = "ext/b/region=r/accountId=1/eventDay=20251201/e-6.zstd.parquet";
        std::fs::remove_file(lake.join(gone)).unwrap();
        assert_eq!(findings(&lake), (Exit::Found, vec![json!("gap")]));
        let lake = folder.path().join("another");
        let mut edited = lines.clone();
        edited[3] = edited[3].replace("4002", "4001");
        stored(&lake, &edited, None);
        let (exit, report) = verify(&[lake.to_str().unwrap()]);
        assert_eq!(exit, Exit::Found);
        let finding = &report["findings"][0];
        assert_eq!(finding["kind"], "edit");
        assert!(
            finding["at"]
                .as_str()
                .unwrap()
                .ends_with("e-1.zstd.parquet, row 3"),
            "{finding}"
        );
        std::fs::write(lake.join("no.parquet"), "PAR1").unwrap();
        let (exit, _, err) = call(&["audit", "verify", lake.to_str().unwrap()]);
        assert!(
            exit != Exit::Success && err.contains("no.parquet: it is to be Parquet"),
            "{err}"
        );
    }
}
