use std::io::{Read as _, Seek as _, SeekFrom};

use plimsoll_journal::{FileStorage, Journal, Options};
use plimsoll_wire::event::Loss;
use plimsoll_wire::{AuditEvent, Class};

use super::repair::repair;
use super::*;
use crate::records;

/// A collector's data folder: ten audit events, of which the sink has had four.
fn data() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (class, number) in [("usage", 1), ("security", 2)] {
        let storage = FileStorage::open(&folder.path().join("journal").join(class)).unwrap();
        let options = Options::new(number, &["seen", "sink"], "e".repeat(32));
        let (mut journal, _) = Journal::open(storage, options).unwrap();
        let last = if class == "security" { 10 } else { 0 };
        for seq in 1..=last {
            let event = AuditEvent::Loss(Loss {
                stage: "spool".to_owned(),
                lost_class: Class::Usage,
                fate: "shed".to_owned(),
                count: seq,
                first_seq: None,
                last_seq: None,
            });
            journal
                .append(&records::logs(&event, seq).encode_to_vec(), 5_000_000_000)
                .unwrap();
            journal.sync().unwrap();
        }
        journal.set_cursor("seen", last).unwrap();
        journal.set_cursor("sink", last.min(4)).unwrap();
        journal.sync_positions().unwrap();
    }
    folder
}

/// Flips a bit in the payload of the record that lies at this byte of the only segment.
fn damage(folder: &Path, at: u64) {
    let path = folder.join("journal/security/segment-000000000001.plj");
    let mut file = fs::File::options()
        .read(true)
        .write(true)
        .open(path)
        .unwrap();
    let mut byte = [0];
    file.seek(SeekFrom::Start(at)).unwrap();
    file.read_exact(&mut byte).unwrap();
    file.seek(SeekFrom::Start(at)).unwrap();
    file.write_all(&[byte[0] ^ 4]).unwrap();
}

#[track_caller]
fn said(run: impl FnOnce(&mut dyn Write) -> Result<Exit, CliError>, expect: Exit) -> String {
    let mut out = Vec::new();
    assert_eq!(run(&mut out).unwrap(), expect);
    String::from_utf8(out).unwrap()
}

#[test]
fn a_whole_journal_is_shown_and_its_records_told() {
    let data = data();
    let path = data.path();
    let table = said(|out| status(path, Output::Table, out), Exit::Success);
    let rows: Vec<Vec<&str>> = table
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    assert_eq!(rows[1][..4], ["journal/security", "10", "1", "10"]);
    assert!(table.contains("seen 0, sink 6  whole"), "{table}");
    let checked = said(|out| check(path, Output::Table, out), Exit::Success);
    assert_eq!(
        checked,
        "journal/security: 10 records, whole\njournal/usage: 0 records, whole\n"
    );
    let mut told = Vec::new();
    let lines = said(
        |out| export(&path.join("journal/security"), 9, out, &mut told),
        Exit::Success,
    );
    assert!(told.is_empty());
    let lines: Vec<Value> = lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines.len(), 2);
    assert_eq!(
        (&lines[0]["journal"], &lines[0]["seq"]),
        (&json!("."), &json!(9))
    );
    assert_eq!(lines[0]["time"], "1970-01-01T00:00:05Z");
    assert_eq!(
        (&lines[0]["event"]["event"], &lines[0]["event"]["count"]),
        (&json!("loss"), &json!(9))
    );
    assert_eq!(lines[0]["event"]["node"], records::NODE);
}

#[test]
fn damage_is_told_with_its_place_and_the_rest_is_saved() {
    let data = data();
    let path = data.path();
    let length = fs::metadata(path.join("journal/security/segment-000000000001.plj"))
        .unwrap()
        .len();
    damage(path, length - 20);
    let before = fs::read(path.join("journal/security/segment-000000000001.plj")).unwrap();
    let checked = said(|out| check(path, Output::Table, out), Exit::Found);
    let [place, missing, whole] = checked.lines().collect::<Vec<_>>()[..] else {
        panic!("{checked}");
    };
    assert!(
        place.starts_with("journal/security: segment-000000000001.plj, byte "),
        "{place}"
    );
    assert!(
        place.ends_with(" bytes are no record, number 10"),
        "{place}"
    );
    assert_eq!(missing, "journal/security: number 10 is missing");
    assert_eq!(whole, "journal/usage: 0 records, whole");
    let document = said(|out| check(path, Output::Json, out), Exit::Found);
    let document: Value = serde_json::from_str(&document).unwrap();
    let found = &document["journals"][0];
    assert_eq!(
        found["missing"],
        json!([{"first": 10, "last": 10, "told": false}])
    );
    assert_eq!(
        (&found["whole"], &found["records"]),
        (&json!(false), &json!(9))
    );
    let mut told = Vec::new();
    let lines = said(|out| export(path, 1, out, &mut told), Exit::Found);
    assert_eq!(lines.lines().count(), 9);
    let told = String::from_utf8(told).unwrap();
    assert!(told.ends_with(": number 10 is missing\n"), "{told}");

    let elsewhere = tempfile::tempdir().unwrap();
    let into = elsewhere.path().join("new/saved");
    let saved = said(|out| repair(path, &into, out), Exit::Found);
    assert_eq!(
        saved,
        "journal/security: 9 of 9 records saved; it was 1 damaged, 1 missing\n\
         journal/usage: 0 of 0 records saved; it was whole\n"
    );
    assert_eq!(
        fs::read(path.join("journal/security/segment-000000000001.plj")).unwrap(),
        before
    );
    let again = said(|out| check(&into, Output::Table, out), Exit::Found);
    assert!(
        again.starts_with("journal/security: number 10 is missing\n"),
        "{again}"
    );
    let within = "it lies in what is to be saved, which stays as it is";
    for (into, why) in [
        (into, "it is not empty"),
        (path.join("new"), within),
        (path.join("journal/usage/deep/er"), within),
    ] {
        let refused = repair(path, &into, &mut Vec::new()).unwrap_err();
        assert_eq!(
            refused.to_string(),
            format!("--into {}: {why}", into.display())
        );
        assert!(!path.join("new").exists() && !path.join("journal/usage/deep").exists());
    }
}

/// An agent's spool has no nodes in it, and whoever kept something else has it as it is.
#[test]
fn whatever_a_record_is_it_is_exported() {
    let event = AuditEvent::Loss(Loss {
        stage: "spool".to_owned(),
        lost_class: Class::Usage,
        fate: "shed".to_owned(),
        count: 3,
        first_seq: None,
        last_seq: None,
    });
    let window = records::minute(1, 2);
    let of_node = plimsoll_wire::otlp::metrics::encode(&window).encode_to_vec();
    let of_collector = records::metrics(&window, 7).encode_to_vec();
    let logged = plimsoll_wire::otlp::logs::encode(&event, 5).encode_to_vec();
    let (name, told) = content(&logged);
    assert_eq!((name, &told["count"]), ("event", &json!(3)));
    assert_eq!(told["time"], "1970-01-01T00:00:00.000000005Z");
    for (payload, has_id) in [(of_node, false), (of_collector, true)] {
        let (name, told) = content(&payload);
        assert_eq!((name, told["id"].is_string()), ("window", has_id));
        assert_eq!(told["identity"], json!(window.identity));
    }
    assert_eq!(content(b"\xff\x00x"), ("payload_hex", json!("ff0078")));
}

#[test]
fn a_folder_without_a_journal_and_one_in_use_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let error = status(folder.path(), Output::Table, &mut Vec::new()).unwrap_err();
    assert!(error.to_string().contains("holds no journal"), "{error}");
    let absent = status(
        &folder.path().join("absent"),
        Output::Table,
        &mut Vec::new(),
    );
    assert!(absent.unwrap_err().to_string().contains("absent"));
    let data = data();
    let usage = data.path().join("journal/usage");
    let _owner = FileStorage::open(&usage).unwrap();
    let table = said(|out| status(&usage, Output::Table, out), Exit::Success);
    assert!(table.contains("whole, in use"), "{table}");
    let into = folder.path().join("into");
    let refused = repair(data.path(), &into, &mut Vec::new()).unwrap_err();
    assert!(
        refused
            .to_string()
            .contains("is in use: stop its process first"),
        "{refused}"
    );
    assert!(!into.exists());
}
