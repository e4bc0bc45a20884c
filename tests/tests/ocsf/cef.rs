//! Lines of the Common Event Format, read as its description says.

use std::collections::BTreeMap;

use plimsoll_collector::cef;
use plimsoll_wire::AuditEvent;
use plimsoll_wire::event::ImdsAccess;

use super::records;

/// Keys that we use of its dictionary.
const KEYS: [&str; 37] = [
    "cn1",
    "cn1Label",
    "cnt",
    "cs1",
    "cs1Label",
    "cs2",
    "cs2Label",
    "cs3",
    "cs3Label",
    "cs4",
    "cs4Label",
    "cs5",
    "cs5Label",
    "cs6",
    "cs6Label",
    "deviceProcessName",
    "dhost",
    "dpid",
    "dproc",
    "dpt",
    "dst",
    "dvchost",
    "end",
    "externalId",
    "msg",
    "outcome",
    "proto",
    "reason",
    "request",
    "requestClientApplication",
    "requestMethod",
    "rt",
    "shost",
    "spid",
    "sproc",
    "spt",
    "src",
];
const MORE_KEYS: [&str; 2] = ["start", "suid"];

/// The parts of a text at a separator that no backslash stands before, as they are.
fn parts(text: &str, separator: char, most: usize) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c == '\\' {
            let part = parts.last_mut().unwrap();
            part.push(c);
            part.extend(chars.next());
        } else if c == separator && parts.len() < most {
            parts.push(String::new());
        } else {
            parts.last_mut().unwrap().push(c);
        }
    }
    parts
}

fn plain(text: &str) -> String {
    let mut out = String::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match (c, c == '\\') {
            (_, true) => match chars.next().unwrap() {
                'n' => out.push('\n'),
                'r' => out.push('\r'),
                other => out.push(other),
            },
            (c, false) => out.push(c),
        }
    }
    out
}

/// The seven fields of the head, and the extension.
fn parse(line: &str) -> (Vec<String>, BTreeMap<String, String>) {
    assert!(!line.contains(['\n', '\r']), "{line}");
    let mut head = parts(line, '|', 8);
    let extension = head.pop().unwrap();
    assert_eq!(head.len(), 7, "{line}");
    let mut fields = BTreeMap::new();
    let pieces = parts(&extension, '=', usize::MAX);
    for (before, after) in pieces.iter().zip(&pieces[1..]) {
        let key = before.rsplit(' ').next().unwrap();
        // The next key is the last word of what follows, but in the last piece.
        let is_last = std::ptr::eq(after, pieces.last().unwrap());
        let value = if is_last {
            after
        } else {
            after.rsplit_once(' ').unwrap().0
        };
        assert!(
            fields.insert(key.to_owned(), plain(value)).is_none(),
            "{key} twice: {line}"
        );
    }
    (head.iter().map(|field| plain(field)).collect(), fields)
}

#[test]
fn lines_are_read_back() {
    for record in records() {
        let line = cef::line(&record, "0.1.0");
        let (head, fields) = parse(&line);
        assert_eq!(head[0], "CEF:0");
        assert_eq!(head[4], record.event.name());
        let grade: u8 = head[6].parse().unwrap();
        assert!(grade <= 10);
        assert_eq!(fields["externalId"], record.id.to_string());
        for key in fields.keys() {
            assert!(
                KEYS.contains(&key.as_str()) || MORE_KEYS.contains(&key.as_str()),
                "{key}"
            );
        }
        let labels = fields.keys().filter(|key| key.ends_with("Label"));
        assert!(
            labels
                .into_iter()
                .all(|label| fields.contains_key(label.trim_end_matches("Label")))
        );
        if let AuditEvent::Imds(access) = &record.event {
            let agent = access
                .request
                .get("user_agent")
                .and_then(|agent| agent.as_str());
            assert_eq!(
                fields.get("requestClientApplication").map(String::as_str),
                agent
            );
        }
    }
}

/// What somebody writes into a request cannot become a field or a line of its own.
#[test]
fn what_a_client_sends_stays_where_it_is_put() {
    let mut record = records()
        .into_iter()
        .find(|record| matches!(record.event, AuditEvent::Imds(_)))
        .unwrap();
    let hostile = "a|b=c\\ outcome=ok\nCEF:0|x|y|z|1|n|0|src=1.2.3.4\r\\";
    record.names.insert("pod".to_owned(), hostile.into());
    let AuditEvent::Imds(ImdsAccess { request, .. }) = &mut record.event else {
        unreachable!("it is one");
    };
    request.insert("user_agent".to_owned(), hostile.into());
    request.insert("outcome".to_owned(), "denied".into());
    let (head, fields) = parse(&cef::line(&record, "0|1"));
    assert_eq!(head[3], "0|1");
    assert_eq!(fields["requestClientApplication"], hostile);
    assert_eq!(fields["cs2"], hostile);
    assert_eq!(fields["outcome"], "denied");
}
