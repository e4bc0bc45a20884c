//! What is wrong with an event, by a release's schema: unknown members, missing ones, values that are none, what
//! its class and its profiles ask for.

use std::collections::BTreeSet;
use std::fmt;

use serde_json::{Map, Value};

use super::schema::{Attribute, Constraints, Object, Requirement, Schema};

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Where: `src_endpoint.port`, empty for the event itself.
    pub path: String,
    /// What.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = if self.path.is_empty() {
            "event"
        } else {
            &self.path
        };
        write!(f, "{path}: {}", self.what)
    }
}

/// Everything that is wrong with an event; empty for a valid one.
pub fn validate(schema: &Schema, event: &Value) -> Vec<Violation> {
    let mut judge = Judge {
        schema,
        profiles: profiles(event),
        violations: Vec::new(),
    };
    let number = |name: &str| event.get(name).and_then(Value::as_i64);
    let class = number("class_uid").and_then(|uid| schema.class(uid));
    let (Some(class), Some(members)) = (class, event.as_object()) else {
        judge.found("class_uid", format!("no class of OCSF {}", schema.version));
        return judge.violations;
    };
    judge.object("", members, &class.of);
    let of_class = number("activity_id").map(|activity| class.uid * 100 + activity);
    if number("type_uid") != of_class {
        judge.found("type_uid", "not that of class and activity".to_owned());
    }
    judge.observables(event);
    for unknown in profiles(event) {
        if !schema.has_profile(unknown) {
            judge.found("metadata.profiles", format!("no profile {unknown}"));
        }
    }
    let version = event.pointer("/metadata/version").and_then(Value::as_str);
    if version != Some(&schema.version) {
        judge.found("metadata.version", format!("not {}", schema.version));
    }
    judge.violations
}

/// What an event states in `metadata.profiles`.
pub(super) fn profiles(event: &Value) -> BTreeSet<&str> {
    let stated = event
        .pointer("/metadata/profiles")
        .and_then(Value::as_array);
    stated
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect()
}

struct Judge<'a> {
    schema: &'a Schema,
    profiles: BTreeSet<&'a str>,
    violations: Vec<Violation>,
}

impl Judge<'_> {
    fn found(&mut self, path: &str, what: String) {
        let path = path.to_owned();
        self.violations.push(Violation { path, what });
    }

    fn object(&mut self, path: &str, members: &Map<String, Value>, of: &Object) {
        for (name, value) in members {
            let path = within(path, name);
            match of.attributes.get(name) {
                Some(attribute) if is_stated(attribute, &self.profiles) => {
                    self.member(&path, value, attribute);
                }
                Some(attribute) => {
                    self.found(
                        &path,
                        format!("of a profile that is not stated: {:?}", attribute.profiles),
                    );
                }
                None => self.found(&path, format!("{} has no such member", of.caption)),
            }
        }
        for missing in missing(members, of, &self.profiles) {
            self.found(path, missing);
        }
        self.siblings(path, members, of);
    }

    /// A number and the word beside it say the same, unless the number is that of no word.
    fn siblings(&mut self, path: &str, members: &Map<String, Value>, of: &Object) {
        for (name, attribute) in &of.attributes {
            let Some(sibling) = attribute.sibling.as_deref() else {
                continue;
            };
            let number = members.get(name).map(ToString::to_string);
            let caption = number.filter(|number| number != "99");
            let caption = caption.and_then(|number| attribute.values.get(&number));
            let word = members.get(sibling).and_then(Value::as_str);
            if let (Some(caption), Some(word)) = (caption, word)
                && caption != word
            {
                self.found(
                    &within(path, sibling),
                    format!("{word:?} beside {caption:?}"),
                );
            }
        }
    }

    /// An observable names something that is there, and has its value; of an object it has none.
    fn observables(&mut self, event: &Value) {
        let observables = event.get("observables").and_then(Value::as_array);
        for of in observables.into_iter().flatten() {
            let value = of.get("value");
            let is_one = match named(of, event) {
                Some(Value::Object(_)) => value.is_none(),
                Some(found) => value == Some(found),
                None => false,
            };
            if !is_one {
                self.found("observables", format!("{of} is not in the event"));
            }
        }
    }

    fn member(&mut self, path: &str, value: &Value, attribute: &Attribute) {
        match value.as_array().filter(|_| attribute.is_array) {
            Some(values) => {
                for (index, value) in values.iter().enumerate() {
                    self.value(&format!("{path}[{index}]"), value, attribute);
                }
            }
            None if attribute.is_array => self.found(path, "no list".to_owned()),
            None => self.value(path, value, attribute),
        }
    }

    fn value(&mut self, path: &str, value: &Value, attribute: &Attribute) {
        match &attribute.object_type {
            Some(name) => match (value.as_object(), self.schema.objects.get(name)) {
                // Anything may be in it.
                (Some(_), _) if name == "object" => {}
                (Some(members), Some(of)) => self.object(path, members, of),
                _ => self.found(path, format!("no object {name}")),
            },
            None => {
                if let Some(what) = wrong(self.schema, value, attribute) {
                    self.found(path, what);
                }
            }
        }
    }
}

/// What an observable names in the event.
pub(super) fn named<'a>(observable: &Value, event: &'a Value) -> Option<&'a Value> {
    let name = observable.get("name").and_then(Value::as_str)?;
    event.pointer(&format!("/{}", name.replace('.', "/")))
}

pub(super) fn within(path: &str, name: &str) -> String {
    if path.is_empty() {
        name.to_owned()
    } else {
        format!("{path}.{name}")
    }
}

/// Whether an attribute may be there with these profiles.
pub(super) fn is_stated(attribute: &Attribute, profiles: &BTreeSet<&str>) -> bool {
    let of = &attribute.profiles;
    of.is_empty() || of.iter().any(|profile| profiles.contains(profile.as_str()))
}

/// What has to be there and is not.
pub(super) fn missing(
    members: &Map<String, Value>,
    of: &Object,
    profiles: &BTreeSet<&str>,
) -> Vec<String> {
    let is_there = |name: &String| members.contains_key(name);
    let required = of.attributes.iter().filter(|(name, attribute)| {
        attribute.requirement == Requirement::Required
            && is_stated(attribute, profiles)
            && !is_there(name)
    });
    let mut missing: Vec<_> = required
        .map(|(name, _)| format!("{name} is missing"))
        .collect();
    let Constraints {
        at_least_one,
        just_one,
    } = &of.constraints;
    if !at_least_one.is_empty() && !at_least_one.iter().any(is_there) {
        missing.push(format!("none of {} is there", at_least_one.join(", ")));
    }
    if !just_one.is_empty() && just_one.iter().filter(|name| is_there(name)).count() != 1 {
        missing.push(format!("not one of {} is there", just_one.join(", ")));
    }
    missing
}

/// What is wrong with a value that is no object.
pub(super) fn wrong(schema: &Schema, value: &Value, attribute: &Attribute) -> Option<String> {
    if let Some(what) = wrong_type(schema, value, &attribute.kind) {
        return Some(what);
    }
    let is_listed = match value {
        Value::String(text) => attribute.values.contains_key(text),
        other => attribute.values.contains_key(&other.to_string()),
    };
    let is_open = attribute.values.is_empty();
    (!is_open && !is_listed).then(|| format!("{value} is none of its values"))
}

fn wrong_type(schema: &Schema, value: &Value, name: &str) -> Option<String> {
    let is_one = match name {
        "json_t" => true,
        "string_t" => value.is_string(),
        "boolean_t" => value.is_boolean(),
        "integer_t" => value
            .as_i64()
            .is_some_and(|number| i32::try_from(number).is_ok()),
        "long_t" => value.is_i64(),
        "float_t" => value.is_number(),
        _ => {
            let Some(of) = schema.types.get(name) else {
                return Some(format!("unknown type {name}"));
            };
            let base = of.base.as_deref().unwrap_or("string_t");
            if let Some(what) = wrong_type(schema, value, base) {
                return Some(what);
            }
            let fits_range = of.range.is_none_or(|(from, to)| {
                let number = value.as_i64();
                number.is_some_and(|number| (from..=to).contains(&number))
            });
            let text = value.as_str().unwrap_or_default();
            fits_range && of.matches(text)
        }
    };
    (!is_one).then(|| format!("{value} is no {name}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// As the framework's own documentation has it: a request for an instance's role.
    fn event() -> Value {
        json!({
            "metadata": {"version": "1.8.0", "product": {"name": "p"}, "profiles": ["host"]},
            "time": 1_795_328_610_123_i64, "severity_id": 1,
            "category_uid": 4, "class_uid": 4002, "activity_id": 3, "type_uid": 400_203,
            "device": {"type_id": 0, "hostname": "n"},
            "dst_endpoint": {"ip": "169.254.169.254", "port": 80},
            "http_request": {"http_method": "GET", "url": {"path": "/"}},
        })
    }

    #[track_caller]
    fn check(change: impl FnOnce(&mut Value), expect: &[&str]) {
        let mut event = event();
        change(&mut event);
        let found = validate(Schema::v1_8(), &event);
        let found: Vec<String> = found.iter().map(ToString::to_string).collect();
        assert_eq!(found, expect);
    }

    #[test]
    fn everything_that_is_wrong_is_told_with_its_place() {
        check(|_| (), &[]);
        check(
            |event| {
                event["dst_endpoint"] =
                    json!({"ip": "169.254.169.999", "port": 80_000, "node": "n"});
            },
            &[
                "dst_endpoint.ip: \"169.254.169.999\" is no ip_t",
                "dst_endpoint.node: Network Endpoint has no such member",
                "dst_endpoint.port: 80000 is no port_t",
            ],
        );
        check(
            |event| event["severity_id"] = json!(7),
            &["severity_id: 7 is none of its values"],
        );
        check(
            |event| event["metadata"]["profiles"] = json!([]),
            &["device: of a profile that is not stated: [\"host\"]"],
        );
        check(
            |event| event["metadata"]["profiles"] = json!(["host", "cloud"]),
            &["event: cloud is missing"],
        );
        check(
            |event| drop(event.as_object_mut().unwrap().remove("http_request")),
            &["event: none of http_request, http_response is there"],
        );
        check(
            |event| event["activity_id"] = json!(7),
            &["type_uid: not that of class and activity"],
        );
        check(
            |event| {
                event["observables"] = json!([
                    {"type_id": 2, "name": "dst_endpoint.ip", "value": "169.254.169.254"},
                    {"name": "dst_endpoint"}, 3,
                    {"type_id": 2, "name": "dst_endpoint.ip", "value": "10.0.0.1"},
                ]);
            },
            &[
                "observables[1]: type_id is missing",
                "observables[2]: no object observable",
                "observables: 3 is not in the event",
                "observables: {\"name\":\"dst_endpoint.ip\",\"type_id\":2,\"value\":\"10.0.0.1\"} is not in the event",
            ],
        );
        check(
            |event| event["severity"] = json!("Low"),
            &["severity: \"Low\" beside \"Informational\""],
        );
        check(
            |event| event["metadata"]["profiles"] = json!(["host", "made_up"]),
            &["metadata.profiles: no profile made_up"],
        );
        check(
            |event| event["time"] = Value::Null,
            &["time: null is no long_t"],
        );
        check(
            |event| event["class_uid"] = json!(1),
            &["class_uid: no class of OCSF 1.8.0"],
        );
    }

    #[test]
    fn an_event_of_another_release_is_told() {
        let found = validate(Schema::v1_3(), &event());
        let found: Vec<String> = found.iter().map(ToString::to_string).collect();
        assert_eq!(
            found,
            [
                "metadata.product: vendor_name is missing",
                "event: http_response is missing",
                "metadata.version: not 1.3.0"
            ]
        );
    }
}
