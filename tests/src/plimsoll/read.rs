//! What the documents of the API and the metrics say. Pure: JSON and text in, values out.

use serde_json::{Map, Value};

/// The audit events of an `/api/v1/audit` document: the elements of its first list whose objects
/// have an `event`.
pub fn events(document: &Value) -> Vec<Value> {
    let list = match document {
        Value::Array(list) => Some(list),
        Value::Object(map) => map.values().find_map(Value::as_array),
        _ => None,
    };
    list.into_iter()
        .flatten()
        .filter(|line| line.get("event").is_some())
        .cloned()
        .collect()
}

/// The lines of an audit file. A last line that is not whole yet is left for the next look.
pub fn lines(text: &str) -> Vec<Value> {
    text.lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect()
}

/// The event within its record: beside the record's own fields, or below `event`.
pub fn body(event: &Value) -> &Value {
    event
        .get("event")
        .filter(|inner| inner.is_object())
        .unwrap_or(event)
}

/// A name that the join has given, such as `pod`.
pub fn name<'a>(event: &'a Value, key: &str) -> Option<&'a str> {
    event
        .get("names")
        .or_else(|| event.get("joined"))?
        .get(key)?
        .as_str()
}

/// Whether an event is of this kind (`imds`, `oom_kill`, `container_end`, …).
pub fn is_kind(event: &Value, kind: &str) -> bool {
    body(event)["event"] == kind
}

/// Container id of an event's identity.
pub fn container_id(event: &Value) -> Option<&str> {
    body(event)["identity"]["subject"]["container_id"].as_str()
}

/// Pod UID of an event's identity.
pub fn pod_uid(event: &Value) -> Option<&str> {
    body(event)["identity"]["subject"]["pod_uid"].as_str()
}

/// Stages of an `/api/v1/accounting` document or heartbeat, wherever they lie in it: every object
/// that has an `emitted` count.
pub fn fates(document: &Value) -> Vec<&Map<String, Value>> {
    let mut found = Vec::new();
    collect_fates(document, &mut found);
    found
}

fn collect_fates<'a>(value: &'a Value, found: &mut Vec<&'a Map<String, Value>>) {
    match value {
        Value::Object(map) => {
            if map.get("emitted").is_some_and(Value::is_u64) {
                found.push(map);
            }
            map.values().for_each(|v| collect_fates(v, found));
        }
        Value::Array(list) => list.iter().for_each(|v| collect_fates(v, found)),
        _ => {}
    }
}

/// The fates that end a record's way, or hold it.
const FATES: [&str; 9] = [
    "lost",
    "undecodable",
    "filtered",
    "shed",
    "expired",
    "rejected",
    "quarantined",
    "delivered",
    "in_flight",
];

/// Emitted minus all fates: zero, or records are unaccounted for.
pub fn unaccounted(fates: &Map<String, Value>) -> i128 {
    let count = |name: &str| i128::from(fates.get(name).and_then(Value::as_u64).unwrap_or(0));
    count("emitted") - FATES.iter().map(|name| count(name)).sum::<i128>()
}

/// Prometheus text as `name{labels}` → number.
pub fn metrics(text: &str) -> Map<String, Value> {
    let mut map = Map::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let Some((name, value)) = line.rsplit_once(' ') else {
            continue;
        };
        if let Some(number) = value.parse().ok().and_then(serde_json::Number::from_f64) {
            map.insert(name.to_owned(), Value::Number(number));
        }
    }
    map
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn events_are_found_in_a_list_or_in_a_document() {
        let event = json!({"name": "x", "event": {"event": "imds", "identity": {"subject": {"pod_uid": "u"}}}});
        for document in [json!([event]), json!({"schema": "s", "events": [event]})] {
            let events = events(&document);
            assert_eq!(events.len(), 1);
            assert!(is_kind(&events[0], "imds"));
            assert_eq!(pod_uid(&events[0]), Some("u"));
            assert_eq!(container_id(&events[0]), None);
        }
        assert!(events(&json!("no")).is_empty());
        let flat = json!({"event": "imds", "identity": {"subject": {"pod_uid": "u"}}, "names": {"pod": "p"}});
        assert!(is_kind(&flat, "imds"));
        assert_eq!((pod_uid(&flat), name(&flat, "pod")), (Some("u"), Some("p")));
    }

    #[test]
    fn half_a_line_is_left_for_later() {
        assert_eq!(lines("{\"a\":1}\n{\"a\":2}\n{\"a\"").len(), 2);
    }

    #[test]
    fn what_is_not_accounted_for_is_seen_at_any_depth() {
        let document = json!({"nodes": [{"stages": {"emitted": 5, "lost": 1, "delivered": 3}}]});
        let fates = fates(&document);
        assert_eq!(
            fates.iter().map(|f| unaccounted(f)).collect::<Vec<_>>(),
            [1]
        );
    }

    #[test]
    fn metrics_are_read_with_their_labels() {
        let map = metrics("# HELP a b\na{x=\"1\"} 2\nb_total 1.5\n# EOF\n");
        assert_eq!(map["a{x=\"1\"}"], json!(2.0));
        assert_eq!(map.len(), 2);
    }
}
