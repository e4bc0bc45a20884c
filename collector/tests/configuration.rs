//! The collector as a process, with a configuration that cannot be used.
#![expect(
    clippy::disallowed_methods,
    reason = "runs the collector and writes its configuration"
)]

use std::process::Command;

#[test]
fn no_filter_of_the_log_hides_why_the_start_failed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("collector.yaml");
    std::fs::write(&path, "inventory: { reload_s: 0 }\n").unwrap();
    for (filter, lines) in [
        ("", 1),
        ("Off", 1),
        ("plimsoll_collector=off", 1),
        ("inof", 2),
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_plimsoll-collector"))
            .arg("--config")
            .arg(&path)
            .env("PLIMSOLL_LOG", filter)
            .output()
            .unwrap();
        let log = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(64), "{filter:?}: {log}");
        let told = "collector.yaml:1: inventory.reload_s: must be at least 1";
        assert!(log.contains(told), "{filter:?}: {log}");
        assert_eq!(log.lines().count(), lines, "{filter:?}: {log}");
    }
}

#[test]
fn a_folder_that_takes_no_files_and_one_address_for_two_are_mistakes_with_the_others() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("collector.yaml");
    let text = "data: { path: /proc/x }\ningest: { listen: '127.0.0.1:7171' }\n\
                http: { listen: '127.0.0.1:7171' }\ninventory: { reload_s: 0 }\n";
    std::fs::write(&path, text).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_plimsoll-collector"))
        .arg("--config")
        .arg(&path)
        .output()
        .unwrap();
    let log = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(64), "{log}");
    for told in [
        ":1: data.path: must be a folder: /proc is the kernel's own and takes no files",
        ":3: http.listen: must not be the address of ingest.listen",
        ":4: inventory.reload_s: must be at least 1",
    ] {
        assert!(log.contains(told), "{told} is not in {log}");
    }
    assert_eq!(log.lines().count(), 3, "{log}");
}

/// As with a log on a disk that is full, or behind `head`.
#[test]
fn a_log_that_cannot_be_written_is_no_other_end() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("collector.yaml");
    std::fs::write(&path, "inventory: { reload_s: 0 }\n").unwrap();
    for format in [None, Some("--log-json")] {
        let full = std::fs::OpenOptions::new()
            .write(true)
            .open("/dev/full")
            .unwrap();
        let status = Command::new(env!("CARGO_BIN_EXE_plimsoll-collector"))
            .arg("--config")
            .arg(&path)
            .args(format)
            .stderr(full)
            .status()
            .unwrap();
        assert_eq!(status.code(), Some(64), "{status}");
    }
}
