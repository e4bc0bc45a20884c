//! An event for a reader of an older release: what that does not know is kept in `unmapped`.
//!
//! By its schema alone: a member that is not there, or whose value it does not take, moves to
//! `unmapped.ocsf_<release>` under its path; a number that is none of its values becomes `Other` (99), or `Unknown`
//! where there is no such value, and its word stays. A class that it does not have, or that asks for something the
//! event does not know, becomes a base event that says in `activity_name` what it was.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::schema::{Attribute, Class, Object, Schema};
use super::validate;

/// Number of a value that a schema does not list.
const OTHER: i64 = 99;

/// An event of `from` in terms of `to`.
pub fn project(event: &Value, from: &Schema, to: &Schema) -> Value {
    let uid = event.get("class_uid").and_then(Value::as_i64);
    let class = uid.and_then(|uid| to.class(uid));
    let whole = class.and_then(|class| as_class(event, from, to, class));
    whole.unwrap_or_else(|| as_base(event, from, to))
}

fn as_class(event: &Value, from: &Schema, to: &Schema, class: &Class) -> Option<Value> {
    let members = event.as_object()?;
    let mut course = Course {
        to,
        profiles: known_profiles(event, to),
        left: Map::new(),
    };
    let mut kept = course.object("", members, &class.of);
    let is_whole = validate::missing(&kept, &class.of, &course.profiles).is_empty();
    let profiles: Vec<&str> = course.profiles.iter().copied().collect();
    let left = course.left;
    let metadata = kept.get_mut("metadata")?.as_object_mut()?;
    metadata.insert("version".to_owned(), to.version.clone().into());
    metadata.insert("profiles".to_owned(), json!(profiles));
    if !left.is_empty() {
        let release = from.version.replace('.', "_");
        let unmapped = kept.entry("unmapped").or_insert_with(|| json!({}));
        let unmapped = unmapped.as_object_mut()?;
        unmapped.insert(format!("ocsf_{release}"), left.into());
    }
    is_whole.then(|| kept.into())
}

/// Of class 0, which every release has and which asks for nothing but what all events have.
fn as_base(event: &Value, from: &Schema, to: &Schema) -> Value {
    let mut base = event.clone();
    let was = event.get("type_name").cloned().unwrap_or_default();
    let Some(class) = to.class(0) else {
        return base;
    };
    for (name, value) in [
        ("category_name", class.category.as_str().into()),
        ("category_uid", class.category_uid.into()),
        ("class_name", class.of.caption.as_str().into()),
        ("class_uid", class.uid.into()),
        ("activity_id", OTHER.into()),
        ("activity_name", was),
        ("type_name", format!("{}: Other", class.of.caption).into()),
        ("type_uid", OTHER.into()),
    ] {
        base[name] = value;
    }
    as_class(&base, from, to, class).unwrap_or(base)
}

/// Of the profiles that an event states, those that a release has.
fn known_profiles<'a>(event: &'a Value, to: &Schema) -> BTreeSet<&'a str> {
    let mut stated = validate::profiles(event);
    let classes = to.classes.values().map(|class| &class.of);
    let attributes = classes
        .chain(to.objects.values())
        .flat_map(|of| of.attributes.values());
    let known: BTreeSet<&str> = attributes
        .flat_map(|attribute| attribute.profiles.iter().map(String::as_str))
        .collect();
    stated.retain(|profile| known.contains(profile));
    stated
}

struct Course<'a> {
    to: &'a Schema,
    profiles: BTreeSet<&'a str>,
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
                Some(value) => drop(kept.insert(name.clone(), value)),
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
        let before = self.left.clone();
        let kept = self.object(path, members, of);
        if validate::missing(&kept, of, &self.profiles).is_empty() {
            return Some(kept.into());
        }
        // It goes as a whole.
        self.left = before;
        None
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
