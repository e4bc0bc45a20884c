//! Documents in the Elastic Common Schema, judged by its list of fields (`tests/recorded`).

use plimsoll_collector::ecs;
use serde_json::Value;

use super::records;

/// What the list says of a field.
struct Fields(Value);

impl Fields {
    fn check(&self, path: &str, value: &Value, wrong: &mut Vec<String>) {
        if path == "plimsoll" {
            // Our own.
            return;
        }
        let field = &self.0["fields"][path];
        if field.is_null() {
            match value.as_object() {
                Some(members) => {
                    for (name, value) in members {
                        let path = if path.is_empty() {
                            name.clone()
                        } else {
                            format!("{path}.{name}")
                        };
                        self.check(&path, value, wrong);
                    }
                }
                None => wrong.push(format!("{path}: no such field")),
            }
            return;
        }
        let values: Vec<&Value> = value
            .as_array()
            .map_or_else(|| vec![value], |of| of.iter().collect());
        if value.is_array() != (field["array"] == true) {
            wrong.push(format!("{path}: a list or none: {value}"));
        }
        for value in values {
            let is_one = match field["type"].as_str().unwrap() {
                "keyword" | "wildcard" | "match_only_text" | "constant_keyword" => {
                    value.is_string()
                }
                "ip" => value
                    .as_str()
                    .is_some_and(|ip| ip.parse::<std::net::IpAddr>().is_ok()),
                "date" => value
                    .as_str()
                    .is_some_and(|time| time.parse::<jiff::Timestamp>().is_ok()),
                "long" => value.is_i64() || value.is_u64(),
                other => panic!("{path} is of type {other}"),
            };
            let allowed = field["allowed"].as_object();
            let is_allowed =
                allowed.is_none_or(|allowed| allowed.contains_key(value.as_str().unwrap()));
            if !is_one || !is_allowed {
                wrong.push(format!("{path}: {value}"));
            }
        }
    }

    /// Whether each type is one that a category of the event expects.
    fn check_types(&self, document: &Value, wrong: &mut Vec<String>) {
        let Some(categories) = document["event"]["category"].as_array() else {
            return;
        };
        let known = &self.0["fields"]["event.category"]["allowed"];
        for of in document["event"]["type"].as_array().unwrap() {
            let mut expecting = categories
                .iter()
                .map(|category| &known[category.as_str().unwrap()]);
            if !expecting.any(|types| types.as_array().unwrap().contains(of)) {
                wrong.push(format!("event.type: {of} of {categories:?}"));
            }
        }
    }
}

#[test]
fn documents_have_the_fields_of_the_schema() {
    let fields = include_str!("../../recorded/ecs-9.4.0.json");
    let fields = Fields(serde_json::from_str(fields).unwrap());
    let mut actions = std::collections::BTreeSet::new();
    for record in records() {
        let document = ecs::document(&record, "0.1.0");
        let mut wrong = Vec::new();
        fields.check("", &document, &mut wrong);
        fields.check_types(&document, &mut wrong);
        assert!(wrong.is_empty(), "{wrong:?}\n{document:#}");
        assert_eq!(document["event"]["id"], record.id.to_string());
        assert_eq!(document["ecs"]["version"], fields.0["version"]);
        // All that an event says is there.
        let mut own = document["plimsoll"].clone();
        assert_eq!(
            own.as_object_mut().unwrap().remove("names"),
            Some(record.names.clone().into())
        );
        assert_eq!(own, serde_json::to_value(&record.event).unwrap());
        actions.insert(document["event"]["action"].as_str().unwrap().to_owned());
    }
    assert_eq!(actions.len(), 7, "{actions:?}");
}

#[test]
fn a_document_as_it_is_written() {
    let mut records = records().into_iter();
    let record = records.find(|record| {
        let event = serde_json::to_value(&record.event).unwrap();
        event["request"]["class"] == "CRED" && event["request"]["outcome"] == "ok"
    });
    let mut document = ecs::document(&record.unwrap(), "0.1.0");
    document["plimsoll"] = Value::Null;
    insta::assert_snapshot!("ECS", format!("{document:#}"));
}
