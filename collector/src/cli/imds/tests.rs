//! Captures made here, decoded by the command.

mod broken;
mod interfaces;
mod late;
mod links;
mod made;

use std::io::Write as _;

use plimsoll_imds::Key;
use serde_json::Value;

use super::*;
use made::{exchange, pcap};

fn run(file: &[u8]) -> (Result<Decoded, DecodeError>, Value) {
    let mut out = Vec::new();
    let result = decode_from("test.pcap", file, &Key([3; 32]), &mut out);
    let document = if out.is_empty() {
        Value::Null
    } else {
        serde_json::from_slice(&out).unwrap()
    };
    (result, document)
}

/// One event of the exchange.
#[track_caller]
fn check_exchange(file: &[u8]) -> Value {
    let (result, mut document) = run(file);
    assert_eq!(result.unwrap().events, 1, "{document}");
    assert_eq!(document["schema"], "plimsoll.imds/v1");
    let event = document["events"][0].take();
    for (field, expected) in [
        ("time", "2023-11-14T22:13:20Z"),
        ("endpoint", "imds"),
        ("method", "GET"),
        (
            "path",
            "/latest/meta-data/iam/security-credentials/node-role",
        ),
        ("imds_version", "v2"),
        ("class", "CRED"),
        ("role", "node-role"),
        ("outcome", "not_found"),
    ] {
        assert_eq!(event[field], expected, "{event}");
    }
    assert_eq!(event["status"], 404);
    assert_eq!(event["latency_ns"], 1_000_000, "{event}");
    assert_eq!(event["token_hash"].as_str().unwrap().len(), 16);
    assert!(!event.to_string().contains("AQAEAGhV"));
    event
}

fn behind(header: &[u8], packets: &[Vec<u8>]) -> Vec<Vec<u8>> {
    packets
        .iter()
        .map(|packet| [header, packet].concat())
        .collect()
}

#[test]
fn the_command_decodes_a_file() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(&pcap(101, &exchange(), false, 65535))
        .unwrap();
    let path = file.path().to_str().unwrap().to_owned();
    let call = |path: &str| {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let args = ["plimsoll", "imds", "decode", path, "-o", "json"];
        let exit = crate::cli::run(args.map(Into::into), &mut out, &mut err);
        (exit, out, String::from_utf8(err).unwrap())
    };
    let (exit, out, err) = call(&path);
    assert_eq!((exit, err.as_str()), (crate::cli::Exit::Success, ""));
    let document: Value = serde_json::from_slice(&out).unwrap();
    assert_eq!(document["events"].as_array().unwrap().len(), 1);
    for (skipped, told) in [
        (1, "1 packet passed over: its"),
        (2, "2 packets passed over: their"),
    ] {
        let mut packets: Vec<_> = exchange().into_iter().map(|packet| (1, packet)).collect();
        packets.extend((0..skipped).map(|_| (0, Vec::new())));
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(&made::newer(101, (9, 1_000_000_000), &packets))
            .unwrap();
        let (exit, _, err) = call(file.path().to_str().unwrap());
        assert_eq!(exit, crate::cli::Exit::Success);
        let expect = format!("plimsoll: {told} link type 147 is not one of {LINKS}\n");
        assert_eq!(err, expect);
    }
    let (exit, out, err) = call("/no/such/file.pcap");
    assert_eq!((exit, out.len()), (crate::cli::Exit::Usage, 0));
    assert!(err.contains("/no/such/file.pcap"), "{err}");
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().to_str().unwrap();
    let (exit, out, err) = call(folder);
    assert_eq!((exit, out.len()), (crate::cli::Exit::Usage, 0));
    let expect = format!("plimsoll: opening {folder}: is a directory\n");
    assert_eq!(err, expect);
}
