//! Events in the terms of SIEMs: the types that are generated from OCSF's schema, and every event of ours judged by
//! that, by Elastic's list of fields, and by the grammar of CEF.
#![expect(
    clippy::disallowed_methods,
    reason = "shell: compares and writes the generated types"
)]
#![expect(
    clippy::unwrap_used,
    reason = "a test says by failing what it expected"
)]

#[path = "ocsf/cef.rs"]
mod cef;
#[path = "ocsf/corpus.rs"]
mod corpus;
#[path = "ocsf/ecs.rs"]
mod ecs;
#[path = "ocsf/generate.rs"]
mod generate;

use std::path::Path;

use corpus::{events, records};
use plimsoll_collector::ocsf::project::project;
use plimsoll_collector::ocsf::validate::validate;
use plimsoll_collector::ocsf::{Schema, event};
use plimsoll_collector::sinks::lake::columns::{self, Column, Kind};
use plimsoll_collector::sinks::lake::object::projected;
use plimsoll_wire::AuditEvent;
use serde_json::{Value, json};

/// Set by `cargo xtask docs`: write instead of compare.
const WRITE: &str = "PLIMSOLL_WRITE_DOCS";

#[test]
fn types_are_those_of_the_schema() {
    let collector = Path::new(env!("CARGO_MANIFEST_DIR")).join("../collector");
    let attributes = std::fs::read_to_string(collector.join("ocsf/attributes.txt")).unwrap();
    let generated = generate::types(Schema::v1_8(), &attributes);
    let path = collector.join("src/ocsf/types.rs");
    if std::env::var_os(WRITE).is_some() {
        std::fs::write(&path, generated).unwrap();
        return;
    }
    assert!(
        std::fs::read_to_string(&path).unwrap() == generated,
        "collector/src/ocsf/types.rs is out of date: run `cargo xtask docs`"
    );
}

#[test]
fn every_event_is_valid() {
    let mut classes = std::collections::BTreeMap::new();
    for (record, event) in events() {
        let found = validate(Schema::v1_8(), &event);
        assert!(found.is_empty(), "{found:?}\n{record:?}\n{event:#}");
        *classes
            .entry(event["type_name"].as_str().unwrap().to_owned())
            .or_insert(0) += 1;
    }
    let kinds: Vec<_> = classes.keys().map(String::as_str).collect();
    for kind in [
        "API Activity: Read",
        "Application Error: General Error",
        "Application Lifecycle: Other",
        "Application Lifecycle: Stop",
        "Detection Finding: Create",
        "HTTP Activity: Get",
        "HTTP Activity: Head",
        "HTTP Activity: Other",
        "HTTP Activity: Put",
        "Network Activity: Traffic",
        "Process Activity: Terminate",
    ] {
        assert!(kinds.contains(&kind), "{kind} is not among {kinds:?}");
    }
}

/// In the order of the members' names, without a blank, and with no number that a double does not hold: so the text is
/// the one that RFC 8785 has for the event.
#[test]
fn events_are_written_in_canonical_form() {
    fn check_numbers(value: &Value) {
        match value {
            Value::Number(number) => {
                let is_exact = number.as_i64().is_some_and(|it| it.abs() < 1 << 53);
                assert!(is_exact, "{number}");
            }
            Value::Array(values) => values.iter().for_each(check_numbers),
            Value::Object(members) => members.values().for_each(check_numbers),
            _ => {}
        }
    }
    for record in records() {
        let event = event::of(&record, "0.1.0");
        let written = serde_json::to_string(&event).unwrap();
        // Members of a value are kept in the order of their names.
        let sorted: Value = serde_json::from_str(&written).unwrap();
        assert_eq!(written, sorted.to_string());
        check_numbers(&sorted);
    }
}

/// Whatever an event says is found in what is written of it, but what says nothing: a null, an empty text or list.
#[test]
fn nothing_of_an_event_is_left_out() {
    fn leaves(value: &Value, out: &mut Vec<String>) {
        match value {
            Value::Null => {}
            Value::Array(values) => values.iter().for_each(|value| leaves(value, out)),
            Value::Object(members) => members.values().for_each(|value| leaves(value, out)),
            Value::String(text) => out.push(text.clone()),
            other => out.push(other.to_string()),
        }
    }
    for (record, event) in events() {
        let (mut said, mut written) = (Vec::new(), Vec::new());
        let mut document = record.to_document();
        // The class is this.
        document.as_object_mut().unwrap().remove("event");
        leaves(&document, &mut said);
        leaves(&event, &mut written);
        for leaf in said.iter().filter(|leaf| !leaf.is_empty()) {
            assert!(written.contains(leaf), "{leaf}\n{document:#}\n{event:#}");
        }
    }
}

/// Whose container it was is said of one that is known, and credentials came back where they did.
#[test]
fn what_is_not_known_is_not_said() {
    let mut seen = std::collections::BTreeSet::new();
    for (record, event) in events() {
        match &record.event {
            AuditEvent::OomKill(kill) if kill.identity_is_trigger => {
                assert!(event["process"]["container"].is_null(), "{event:#}");
                assert!(event["observables"].is_null(), "{event:#}");
                seen.insert("trigger");
            }
            AuditEvent::Imds(access) if event["class_uid"] == 6003 => {
                let request = &access.request;
                assert_ne!(request.get("method").and_then(Value::as_str), Some("HEAD"));
                assert_eq!(request["status"], 200, "{event:#}");
                seen.insert("credentials");
            }
            AuditEvent::Imds(access)
                if access.request.get("evidence") == Some(&json!("silence")) =>
            {
                assert_eq!(event["status_id"], 0, "{event:#}");
                seen.insert("silence");
            }
            _ => {}
        }
        let version = &event["api"]["version"];
        assert!(
            version.is_null() || version == "v1" || version == "v2",
            "{version}"
        );
    }
    assert_eq!(seen.len(), 3, "{seen:?}");
}

/// What an older release does not know stands in `unmapped`, and nothing else is changed.
#[test]
fn every_event_is_valid_for_security_lake_and_nothing_of_it_is_lost() {
    let (from, to) = (Schema::v1_8(), Schema::v1_3());
    let mut classes = std::collections::BTreeSet::new();
    for (_, event) in events() {
        let projected = project(&event, from, to).unwrap();
        let found = validate(to, &projected);
        assert!(found.is_empty(), "{found:?}\n{event:#}\n{projected:#}");
        let left = &projected["unmapped"]["ocsf_1_8_0"];
        check_kept("", &event, &projected, left);
        classes.insert(projected["class_uid"].as_i64().unwrap());
    }
    let classes: Vec<_> = classes.into_iter().collect();
    assert_eq!(classes, [0, 1007, 2004, 4001, 4002, 6002, 6003]);
}

/// A method that the older release does not know is another one there, in number and in name.
#[test]
fn every_activity_has_a_type_in_both_releases() {
    let (from, to) = (Schema::v1_8(), Schema::v1_3());
    let mut others = 0;
    for (_, mut event) in events()
        .filter(|(_, event)| event["http_response"].is_object())
        .take(2)
    {
        let class = from.class(event["class_uid"].as_i64().unwrap()).unwrap();
        for (activity, name) in &class.of.attributes["activity_id"].values {
            let activity: i64 = activity.parse().unwrap();
            event["activity_id"] = activity.into();
            event["activity_name"] = name.as_str().into();
            event["type_uid"] = (class.uid * 100 + activity).into();
            event["type_name"] = format!("{}: {name}", class.of.caption).into();
            assert_eq!(validate(from, &event), []);
            let projected = project(&event, from, to).unwrap();
            assert_eq!(validate(to, &projected), [], "{projected:#}");
            assert_eq!(projected["activity_name"], *name);
            others += usize::from(projected["activity_id"] != activity);
        }
    }
    assert!(others > 0, "PATCH is younger");
}

/// Of the class and the release, which may be others.
const OF_CLASS: [&str; 10] = [
    "activity_id",
    "activity_name",
    "category_name",
    "category_uid",
    "class_name",
    "class_uid",
    "metadata.profiles",
    "metadata.version",
    "type_name",
    "type_uid",
];

fn check_kept(path: &str, before: &Value, after: &Value, left: &Value) {
    for (name, value) in before.as_object().unwrap() {
        let path = if path.is_empty() {
            name.clone()
        } else {
            format!("{path}.{name}")
        };
        if OF_CLASS.contains(&path.as_str()) || left.get(&path) == Some(value) {
            continue;
        }
        match after.get(name) {
            Some(kept) if kept == value => {}
            Some(kept) if value.is_object() => check_kept(&path, value, kept, left),
            other => panic!("{path}: {value} became {other:?}"),
        }
    }
}

#[test]
fn events_as_they_are_written() {
    let mut shown = std::collections::BTreeMap::new();
    for (_, event) in events() {
        let kind = event["type_name"]
            .as_str()
            .unwrap()
            .replace(": ", " ")
            .replace(' ', "-");
        shown.entry(kind).or_insert(event);
    }
    let older = project(
        &shown["Application-Error-General-Error"],
        Schema::v1_8(),
        Schema::v1_3(),
    )
    .unwrap();
    shown.insert("Application-Error-in-1.3".to_owned(), older);
    for kind in [
        "API-Activity-Read",
        "Process-Activity-Terminate",
        "Application-Error-in-1.3",
    ] {
        insta::assert_snapshot!(kind, format!("{:#}", shown[kind]));
    }
}

/// Of no event is a member left out of the columns, but for the event as it is.
#[test]
fn every_member_of_every_event_has_a_column() {
    for (_, event) in events() {
        let (class_uid, event) = projected(&event).unwrap();
        let table = columns::table(class_uid).unwrap();
        check_columns(&table.columns, &event, table.name);
    }
}

fn check_columns(columns: &[Column], object: &Value, path: &str) {
    for (name, value) in object.as_object().unwrap() {
        let column = columns.iter().find(|column| column.name == *name);
        let column = column.unwrap_or_else(|| panic!("{path}.{name}"));
        let path = format!("{path}.{name}");
        let values = match value {
            Value::Array(values) if column.is_list => values.as_slice(),
            value => std::slice::from_ref(value),
        };
        for value in values {
            let is_of = match &column.kind {
                Kind::Group(within) => {
                    check_columns(within, value, &path);
                    true
                }
                Kind::Bool => value.is_boolean(),
                Kind::Int => value
                    .as_i64()
                    .is_some_and(|long| i32::try_from(long).is_ok()),
                Kind::Long | Kind::Timestamp => value.is_i64(),
                Kind::Double => value.is_number(),
                Kind::Text => value.is_string(),
                Kind::Json => true,
            };
            assert!(is_of, "{path}: {value}");
        }
    }
}
