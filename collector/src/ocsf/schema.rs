//! What a release of OCSF says of classes, objects and types, as far as our events lead there.
//!
//! The data is that of `ocsf/ocsf-schema`, compiled with `ocsf-schema-compiler` and cut down by `cargo xtask ocsf`
//! (`collector/ocsf`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{LazyLock, OnceLock};

use regex::Regex;
use serde::Deserialize;

/// A release.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Schema {
    /// As events state it in `metadata.version`.
    pub version: String,
    /// By name: `http_activity`.
    pub classes: BTreeMap<String, Class>,
    /// By name: `network_endpoint`.
    pub objects: BTreeMap<String, Object>,
    /// By name: `port_t`.
    pub types: BTreeMap<String, Type>,
    #[serde(skip)]
    profiles: OnceLock<BTreeSet<String>>,
}

/// A class of events.
#[derive(Debug, Deserialize)]
pub struct Class {
    /// Its number: 4002.
    pub uid: i64,
    /// Number of its category.
    pub category_uid: i64,
    /// Its category, for people.
    pub category: String,
    /// What its events hold.
    #[serde(flatten)]
    pub of: Object,
}

/// What an event or an object within one holds.
#[derive(Debug, Deserialize)]
pub struct Object {
    /// Its name for people.
    pub caption: String,
    /// By name.
    pub attributes: BTreeMap<String, Attribute>,
    /// What the attributes are bound by together.
    #[serde(default)]
    pub constraints: Constraints,
}

/// Bounds of several attributes.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Constraints {
    /// One of these at least is there; none are named if nothing is asked.
    #[serde(default)]
    pub at_least_one: Vec<String>,
    /// One of these is there and no other.
    #[serde(default)]
    pub just_one: Vec<String>,
}

/// A member of an event or object.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Attribute {
    /// For people.
    pub caption: String,
    /// Name of its type; `object_t` for an object.
    #[serde(rename = "type")]
    pub kind: String,
    /// Which object; `object` is any.
    pub object_type: Option<String>,
    /// It is a list of such.
    #[serde(default)]
    pub is_array: bool,
    /// Whether it has to be there.
    pub requirement: Requirement,
    /// It is there only in events that state one of these profiles; none for all events.
    #[serde(default)]
    pub profiles: Vec<String>,
    /// The attribute that has this one's value in words.
    pub sibling: Option<String>,
    /// The values that there are, in words; empty for any.
    #[serde(default, rename = "enum")]
    pub values: BTreeMap<String, String>,
}

/// Whether an attribute has to be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Requirement {
    /// It has to.
    Required,
    /// It should.
    Recommended,
    /// It may.
    Optional,
}

/// What values of a type look like.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Type {
    /// The type that it narrows.
    #[serde(rename = "type")]
    pub base: Option<String>,
    /// What the text matches.
    pub regex: Option<String>,
    /// Longest text, characters.
    pub max_len: Option<usize>,
    /// Lowest and highest number.
    pub range: Option<(i64, i64)>,
    #[serde(skip)]
    compiled: OnceLock<Option<Regex>>,
}

impl Type {
    /// Whether a text is one of these, by its length and by its pattern.
    pub fn matches(&self, text: &str) -> bool {
        let compile = || {
            self.regex
                .as_deref()
                .and_then(|regex| Regex::new(regex).ok())
        };
        let regex = self.compiled.get_or_init(compile);
        let is_short = self.max_len.is_none_or(|most| text.chars().count() <= most);
        let is_like = match (&self.regex, regex) {
            (None, _) => true,
            (Some(_), Some(regex)) => regex.is_match(text),
            // A pattern that is none is met by nothing; a test looks that there is no such.
            (Some(_), None) => false,
        };
        is_short && is_like
    }
}

static V1_8: LazyLock<Schema> = LazyLock::new(|| read(include_str!("../../ocsf/1.8.0.json")));
static V1_3: LazyLock<Schema> = LazyLock::new(|| read(include_str!("../../ocsf/1.3.0.json")));

impl Schema {
    /// Release 1.8.0, which our events are written in.
    pub fn v1_8() -> &'static Self {
        &V1_8
    }

    /// Release 1.3.0, the newest that Security Lake takes.
    pub fn v1_3() -> &'static Self {
        &V1_3
    }

    /// Whether something is only there in events that state this profile. Asked of every event.
    pub fn has_profile(&self, profile: &str) -> bool {
        let collect = || {
            let classes = self.classes.values().map(|class| &class.of);
            let attributes = classes
                .chain(self.objects.values())
                .flat_map(|of| of.attributes.values());
            attributes
                .flat_map(|attribute| attribute.profiles.iter().cloned())
                .collect()
        };
        let profiles: &BTreeSet<String> = self.profiles.get_or_init(collect);
        profiles.contains(profile)
    }

    /// The class with that number.
    pub fn class(&self, uid: i64) -> Option<&Class> {
        self.classes.values().find(|class| class.uid == uid)
    }
}

#[expect(clippy::expect_used, reason = "the text is in the program, and tested")]
fn read(text: &str) -> Schema {
    serde_json::from_str(text).expect("a schema of OCSF")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_object_and_type_that_is_named_is_there() {
        for schema in [Schema::v1_8(), Schema::v1_3()] {
            let classes = schema.classes.values().map(|class| &class.of);
            for of in classes.chain(schema.objects.values()) {
                for (name, attribute) in &of.attributes {
                    let is_known = match &attribute.object_type {
                        Some(object) => schema.objects.contains_key(object),
                        None => schema.types.contains_key(&attribute.kind),
                    };
                    assert!(is_known, "{} {}.{name}", schema.version, of.caption);
                }
                let bound = of.constraints.at_least_one.iter();
                for name in bound.chain(&of.constraints.just_one) {
                    assert!(of.attributes.contains_key(name), "{name}");
                }
            }
        }
        for schema in [Schema::v1_8(), Schema::v1_3()] {
            for of in schema.types.values().filter(|of| of.regex.is_some()) {
                of.matches("");
                assert!(of.compiled.get().unwrap().is_some(), "{:?}", of.regex);
            }
        }
        assert_eq!(
            Schema::v1_8().class(4002).unwrap().of.caption,
            "HTTP Activity"
        );
        assert!(Schema::v1_3().class(6008).is_none());
    }
}
