//! Requests whose answers come late or never.

use serde_json::Value;

use super::made::{CLIENT, REQUEST, START_S, exchange, pcap, tcp, v4};
use super::{check_exchange, run};

/// Moves packet `at` of a classic file to `second`.
fn postpone(file: &mut [u8], frames: &[Vec<u8>], at: usize, second: u64) {
    let header = 24 + frames[..at].iter().map(|f| 16 + f.len()).sum::<usize>();
    let second = u32::try_from(second).unwrap();
    file[header..header + 4].copy_from_slice(&second.to_le_bytes());
}

#[test]
fn a_late_answer_is_told_with_its_request() {
    let mut frames = exchange();
    // Another connection's request and answer, while the first still waits.
    let other = frames.clone().into_iter().map(|mut packet| {
        let ours = if packet[12..16] == CLIENT { 15 } else { 19 };
        packet[ours] = 6;
        packet
    });
    let answer = frames.pop().unwrap();
    frames.extend(other);
    frames.push(answer);
    let mut file = pcap(101, &frames, false, 65535);
    for at in 2..5 {
        postpone(&mut file, &frames, at, START_S + 3);
    }
    postpone(&mut file, &frames, 5, START_S + 30);
    let (result, document) = run(&file);
    assert_eq!(result.unwrap().events, 2, "{document}");
    let [other, late] = [0, 1].map(|at| &document["events"][at]);
    assert_eq!(
        (&other["src"]["ip"], &other["flags"]),
        (&"10.0.0.6".into(), &serde_json::json!([]))
    );
    assert_eq!(
        (&late["outcome"], &late["flags"]),
        (&"not_found".into(), &serde_json::json!(["late_answer"]))
    );
    assert_eq!(late["time"], "2023-11-14T22:13:20Z");
    assert_eq!(late["latency_ns"], 30_004_000_000_u64);
    assert_eq!(late["request_id"], Value::Null);
    for field in ["path", "class", "imds_version", "token_hash"] {
        assert_eq!(other[field], late[field], "{field}");
    }
}

/// As a capture of several queues may write it: the times are right.
#[test]
fn an_answer_that_stands_before_its_request_is_its_own() {
    let frames = exchange();
    let mut whole = pcap(101, &frames, false, 65535);
    let third = 24 + 16 + frames[0].len() + 16 + frames[1].len();
    let answer = whole.split_off(third);
    for at in [24, 24 + 16 + frames[0].len(), third] {
        let mut file = whole.clone();
        file.splice(at..at, answer.iter().copied());
        let event = check_exchange(&file);
        assert_eq!(event["flags"], serde_json::json!([]), "{at}");
    }
}

/// As a capture of several processors may write it: the order is right.
#[test]
fn an_answer_with_a_time_before_that_of_its_request_is_its_own() {
    let frames = exchange();
    let mut file = pcap(101, &frames, false, 65535);
    // The request was sent 1.5 ms after the start, and the answer came 1 ms after it.
    for (at, us) in [(0, 1000_u32), (1, 1500), (2, 1000)] {
        let header = 24 + frames[..at].iter().map(|f| 16 + f.len()).sum::<usize>();
        file[header + 4..header + 8].copy_from_slice(&us.to_le_bytes());
    }
    let (result, document) = run(&file);
    assert_eq!(result.unwrap().events, 1, "{document}");
    let event = &document["events"][0];
    assert_eq!(event["outcome"], "not_found");
    assert_eq!(event["flags"], serde_json::json!([]));
}

#[test]
fn an_answer_that_never_comes_is_no_response_in_its_turn() {
    let mut frames = exchange();
    frames[2] = v4(true, &tcp(true, REQUEST.as_bytes(), 1000));
    frames[2][15] = 6;
    frames.push(frames[2].clone());
    frames[3][15] = 7;
    let mut file = pcap(101, &frames, false, 65535);
    postpone(&mut file, &frames, 2, START_S + 5);
    postpone(&mut file, &frames, 3, START_S + 100);
    let (result, document) = run(&file);
    assert_eq!(result.unwrap().events, 3);
    let told = [0, 1, 2].map(|at| &document["events"][at]);
    assert_eq!(
        told.map(|event| event["src"]["ip"].as_str().unwrap()),
        ["10.0.0.5", "10.0.0.6", "10.0.0.7"]
    );
    assert!(told.iter().all(|event| event["outcome"] == "no_response"));
    assert!(told.iter().all(|event| event["request_id"].is_null()));
}
