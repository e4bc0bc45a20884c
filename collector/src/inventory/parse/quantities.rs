//! Quantities of an object that are none: taken out of it, so that the rest of it can be used.
//!
//! A pod with one mistyped limit has a name and owners all the same, and what it uses is theirs. What
//! was taken out is told. Of a request or limit of CPU or memory, [`NOT_KNOWN`] stays in its place: it
//! is not known then, which is another thing than none.

use serde_json::{Map, Value};

use super::{Step, Wrong};
use crate::inventory::quantity;

/// Fields whose entries are quantities by the name of a resource (core/v1 `ResourceList`).
const LISTS: [&str; 6] = [
    "requests",
    "limits",
    "overhead",
    "allocatable",
    "capacity",
    "allocatedResources",
];

/// Stands for a request or limit that was given and is no quantity. It is none either.
const NOT_KNOWN: &str = "unknown";
/// The lists in which it does.
const SET: [&str; 2] = ["requests", "limits"];

/// Takes out each quantity that is none; its place and why.
pub(super) fn take_out_bad(object: &mut Value) -> Vec<Wrong> {
    let mut bad = Vec::new();
    for part in ["spec", "status"] {
        if let Some(value) = object.get_mut(part) {
            walk(value, &mut vec![part.into()], &mut bad);
        }
    }
    bad
}

/// The reader of YAML and JSON bounds the depth.
fn walk(value: &mut Value, at: &mut Vec<Step>, bad: &mut Vec<Wrong>) {
    match value {
        Value::Object(entries) => {
            for (key, value) in entries {
                at.push(key.as_str().into());
                match value {
                    Value::Object(quantities) if LISTS.contains(&key.as_str()) => {
                        check(quantities, SET.contains(&key.as_str()), at, bad);
                    }
                    other => walk(other, at, bad),
                }
                at.pop();
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter_mut().enumerate() {
                at.push(Step::Index(index));
                walk(item, at, bad);
                at.pop();
            }
        }
        _ => {}
    }
}

/// `set`: it is a list of what is set for a container.
fn check(quantities: &mut Map<String, Value>, set: bool, at: &[Step], bad: &mut Vec<Wrong>) {
    quantities.retain(|resource, value| {
        let Some(why) = wrong(resource, value) else {
            return true;
        };
        let path = at.iter().cloned().chain([resource.as_str().into()]);
        bad.push((path.collect(), why));
        let stays = set && ["cpu", "memory"].contains(&resource.as_str());
        if stays {
            *value = NOT_KNOWN.into();
        }
        stays
    });
}

/// Only of CPU and memory the number matters; the others must only be written as one.
fn wrong(resource: &str, value: &Value) -> Option<String> {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        _ => return Some("must be a quantity, as 250m or 64Mi".to_owned()),
    };
    let parsed = match resource {
        "cpu" => quantity::parse_millicores(&text),
        "memory" => quantity::parse_bytes(&text),
        _ => return None,
    };
    parsed.err().map(|error| error.to_string())
}
