//! An event for a reader of an older release: what that does not know is kept in `unmapped`.
//!
//! By its schema alone: a member that is not there, or whose value it does not take, moves to
//! `unmapped.ocsf_<release>` under its path; a number that is none of its values becomes `Other` (99), or `Unknown`
//! where there is no such value, and its word stays. A class that it does not have, or that asks for something the
//! event does not know, becomes another one that says in `activity_name` what it was: of an HTTP Activity without an
//! answer the network's, else the base event, which every release has.

use std::collections::BTreeSet;
use std::mem::{replace, take};

use serde_json::{Map, Value, json};

use super::schema::{Attribute, Class, Object, Schema};
use super::validate;

/// Number of a value that a schema does not list.
const OTHER: i64 = 99;
/// HTTP Activity, and the class that it is told in where there was no answer: Network Activity.
const WITHOUT_ANSWER: (i64, i64) = (4002, 4001);
/// The base event asks for nothing but what all events have.
const BASE: i64 = 0;

/// An event of `from` in terms of `to`; `None` if it is none of ours, which have all that a base event asks for.
pub fn project(event: &Value, from: &Schema, to: &Schema) -> Option<Value> {
    let uid = event.get("class_uid").and_then(Value::as_i64)?;
    let activity = event.get("activity_id").and_then(Value::as_i64)?;
    let (http, network) = WITHOUT_ANSWER;
    let other = (uid == http).then_some((network, OTHER));
    let mut candidates = [(uid, activity)]
        .into_iter()
        .chain(other)
        .chain([(BASE, OTHER)]);
    candidates.find_map(|(uid, activity)| {
        let class = to.class(uid)?;
        as_class(event, from, to, (class, activity))
    })
}

fn as_class(event: &Value, from: &Schema, to: &Schema, of: (&Class, i64)) -> Option<Value> {
    let (class, activity) = of;
    let mut members = event.as_object()?.clone();
    let is_other = event.get("class_uid") != Some(&class.uid.into());
    for (name, value) in [
        ("category_name", class.category.as_str().into()),
        ("category_uid", class.category_uid.into()),
        ("class_name", class.of.caption.as_str().into()),
        ("class_uid", class.uid.into()),
        ("activity_id", activity.into()),
    ] {
        members.insert(name.to_owned(), value);
    }
    let was = members.remove("type_name");
    members.remove("type_uid");
    if is_other && let Some(was) = was {
        members.insert("activity_name".to_owned(), was);
    }
    let mut course = Course {
        to,
        profiles: known_profiles(event, to),
        used: BTreeSet::new(),
        left: Map::new(),
    };
    let mut kept = course.object("", &members, &class.of);
    name_the_type(&mut kept, class);
    if !validate::missing(&kept, &class.of, &course.profiles).is_empty() {
        return None;
    }
    let Course { used, mut left, .. } = course;
    keep_observables(&mut kept, event, &mut left);
    let metadata = kept.get_mut("metadata")?.as_object_mut()?;
    metadata.insert("version".to_owned(), to.version.clone().into());
    metadata.insert("profiles".to_owned(), json!(used));
    if !left.is_empty() {
        let release = from.version.replace('.', "_");
        let unmapped = kept.entry("unmapped").or_insert_with(|| json!({}));
        let unmapped = unmapped.as_object_mut()?;
        unmapped.insert(format!("ocsf_{release}"), left.into());
    }
    Some(kept.into())
}

/// The activity may be another one by now.
fn name_the_type(kept: &mut Map<String, Value>, class: &Class) {
    let activity = kept
        .get("activity_id")
        .and_then(Value::as_i64)
        .unwrap_or(OTHER);
    let uid = class.uid * 100 + activity;
    let names = class.of.attributes.get("type_uid").map(|of| &of.values);
    if let Some(name) = names.and_then(|names| names.get(&uid.to_string())) {
        kept.insert("type_name".to_owned(), name.as_str().into());
    }
    kept.insert("type_uid".to_owned(), uid.into());
}

/// Those of which what they name is still there.
fn keep_observables(kept: &mut Map<String, Value>, event: &Value, left: &mut Map<String, Value>) {
    let Some(mut observables) = kept.remove("observables") else {
        return;
    };
    let members = Value::Object(take(kept));
    if let Some(observables) = observables.as_array_mut() {
        observables.retain(|of| validate::named(of, &members).is_some());
    }
    if let Value::Object(members) = members {
        *kept = members;
    }
    let before = event.get("observables");
    if before != Some(&observables) {
        left.insert(
            "observables".to_owned(),
            before.cloned().unwrap_or_default(),
        );
    }
    if observables.as_array().is_some_and(|of| !of.is_empty()) {
        kept.insert("observables".to_owned(), observables);
    }
}

/// Of the profiles that an event states, those that a release has.
fn known_profiles<'a>(event: &'a Value, to: &Schema) -> BTreeSet<&'a str> {
    let mut stated = validate::profiles(event);
    stated.retain(|profile| to.has_profile(profile));
    stated
}

struct Course<'a> {
    to: &'a Schema,
    profiles: BTreeSet<&'a str>,
    /// Those of which a member is there.
    used: BTreeSet<&'a str>,
    left: Map<String, Value>,
}

impl Course<'_> {
    fn object(
        &mut self,
        path: &str,
        members: &Map<String, Value>,
        of: &Object,
    ) -> Map<String, Value> {
        let mut kept = Map::new();
        for (name, value) in members {
            let path = validate::within(path, name);
            let attribute = of.attributes.get(name);
            let attribute = attribute.filter(|of| validate::is_stated(of, &self.profiles));
            let projected = attribute.and_then(|attribute| self.member(&path, value, attribute));
            match projected {
                Some(value) => {
                    let of = attribute.map_or(&[][..], |of| &of.profiles);
                    let stated = self
                        .profiles
                        .iter()
                        .filter(|it| of.iter().any(|of| of == *it));
                    self.used.extend(stated);
                    kept.insert(name.clone(), value);
                }
                None => drop(self.left.insert(path, value.clone())),
            }
        }
        kept
    }

    fn member(&mut self, path: &str, value: &Value, attribute: &Attribute) -> Option<Value> {
        let Some(values) = value.as_array().filter(|_| attribute.is_array) else {
            return self.value(path, value, attribute);
        };
        let values = values.iter().enumerate();
        // All of a list or nothing: what is left of it would be read as the whole.
        let values =
            values.map(|(index, value)| self.value(&format!("{path}[{index}]"), value, attribute));
        values.collect()
    }

    fn value(&mut self, path: &str, value: &Value, attribute: &Attribute) -> Option<Value> {
        let Some(name) = &attribute.object_type else {
            return self.plain(path, value, attribute);
        };
        if name == "object" {
            return Some(value.clone());
        }
        let (members, of) = (value.as_object()?, self.to.objects.get(name)?);
        let outside = (take(&mut self.left), take(&mut self.used));
        let kept = self.object(path, members, of);
        let left = replace(&mut self.left, outside.0);
        let used = replace(&mut self.used, outside.1);
        if !validate::missing(&kept, of, &self.profiles).is_empty() {
            // It goes as a whole.
            return None;
        }
        self.left.extend(left);
        self.used.extend(used);
        Some(kept.into())
    }

    fn plain(&mut self, path: &str, value: &Value, attribute: &Attribute) -> Option<Value> {
        if validate::wrong(self.to, value, attribute).is_none() {
            return Some(value.clone());
        }
        let number = value.as_i64().filter(|_| !attribute.values.is_empty())?;
        self.left.insert(path.to_owned(), number.into());
        let other = attribute.values.contains_key("99");
        Some(if other { OTHER } else { 0 }.into())
    }
}
