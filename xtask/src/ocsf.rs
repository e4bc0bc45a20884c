#![expect(
    clippy::disallowed_methods,
    reason = "shell: reads compiled schemas, writes what is kept of them"
)]
//! `cargo xtask ocsf`: keeps of a compiled OCSF schema what Plimsoll's events are made of and judged by.
//!
//! The input is the output of `ocsf-schema-compiler` for a release of `ocsf/ocsf-schema`; what is kept is the
//! classes below, every object that they lead to and the types of their values, without descriptions. The Rust
//! types come from that in turn (`cargo xtask docs`).

use std::collections::BTreeSet;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use clap::Args;
use serde_json::{Map, Value, json};

use crate::shell;

/// Classes of our events; a release before 1.4 does not have all of them.
const CLASSES: [&str; 8] = [
    "api_activity",
    "application_error",
    "application_lifecycle",
    "base_event",
    "detection_finding",
    "http_activity",
    "network_activity",
    "process_activity",
];

/// Keeps of compiled OCSF schemas what is used.
#[derive(Debug, Args)]
pub(crate) struct Ocsf {
    /// Compiled schemas, each the output of `ocsf-schema-compiler`.
    #[arg(required = true)]
    compiled: Vec<PathBuf>,
}

impl Ocsf {
    pub(crate) fn run(&self) -> Result<()> {
        for path in &self.compiled {
            let text = std::fs::read(path).with_context(|| path.display().to_string())?;
            let compiled: Value = serde_json::from_slice(&text)
                .with_context(|| format!("{} is no JSON", path.display()))?;
            let version = compiled["version"].as_str();
            let version = version.with_context(|| format!("{}: no version", path.display()))?;
            let kept = reduce(&compiled).with_context(|| path.display().to_string())?;
            let kept_at = shell::root().join(format!("collector/ocsf/{version}.json"));
            std::fs::write(&kept_at, format!("{kept:#}\n"))
                .with_context(|| kept_at.display().to_string())?;
            shell::print(&kept_at.display().to_string());
        }
        Ok(())
    }
}

fn reduce(compiled: &Value) -> Result<Value> {
    let (mut classes, mut objects) = (Map::new(), Map::new());
    let mut wanted = BTreeSet::new();
    for name in CLASSES {
        let Some(class) = compiled["classes"].get(name) else {
            continue;
        };
        let mut kept = of(class, &mut wanted);
        kept["uid"] = class["uid"].clone();
        kept["category_uid"] = class["category_uid"].clone();
        // The base event is of no category, and says so by its one value alone.
        let category = class["category_name"].as_str();
        kept["category"] = category.unwrap_or("Uncategorized").into();
        classes.insert(name.to_owned(), kept);
    }
    let mut types = BTreeSet::new();
    while let Some(name) = wanted.pop_first() {
        let object = compiled["objects"].get(&name);
        let object = object.with_context(|| format!("no object {name}"))?;
        let mut next = BTreeSet::new();
        let kept = of(object, &mut next);
        objects.insert(name, kept);
        next.retain(|name| !objects.contains_key(name));
        wanted.append(&mut next);
    }
    for of in classes.values().chain(objects.values()) {
        let attributes = of["attributes"].as_object().into_iter().flatten();
        types.extend(attributes.filter_map(|(_, attribute)| attribute["type"].as_str()));
    }
    let known = &compiled["dictionary"]["types"]["attributes"];
    let types: Map<String, Value> = types
        .into_iter()
        .filter(|name| *name != "object_t")
        .map(|name| {
            (
                name.to_owned(),
                some(&known[name], &["type", "regex", "max_len", "range"]),
            )
        })
        .collect();
    Ok(json!({
        "version": compiled["version"],
        "classes": classes,
        "objects": objects,
        "types": types,
    }))
}

/// A class or an object, and the objects that it leads to.
fn of(whole: &Value, wanted: &mut BTreeSet<String>) -> Value {
    let attributes = whole["attributes"].as_object().into_iter().flatten();
    let attributes: Map<String, Value> = attributes
        .map(|(name, whole)| {
            let keys = [
                "caption",
                "type",
                "object_type",
                "is_array",
                "requirement",
                "profiles",
                "sibling",
            ];
            let mut kept = some(whole, &keys);
            if let Some(values) = whole["enum"].as_object() {
                let captions = values.iter();
                let captions: Map<_, _> = captions
                    .map(|(value, of)| (value.clone(), of["caption"].clone()))
                    .collect();
                kept["enum"] = captions.into();
            }
            wanted.extend(whole["object_type"].as_str().map(str::to_owned));
            (name.clone(), kept)
        })
        .collect();
    let mut kept = some(whole, &["caption", "constraints"]);
    kept["attributes"] = attributes.into();
    kept
}

fn some(of: &Value, keys: &[&str]) -> Value {
    let kept = keys.iter().filter_map(|key| {
        let value = of.get(key).filter(|value| !value.is_null())?;
        Some(((*key).to_owned(), value.clone()))
    });
    Value::Object(kept.collect())
}
