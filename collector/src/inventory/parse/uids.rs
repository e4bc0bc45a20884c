//! On which lines of a text the UIDs of its objects stand: read only to say it of those that two have.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{Document, Step, documents, options};

/// The lines of each of these UIDs, in the order of the text; those of owners are not among them.
pub fn uid_lines(text: &str, uids: &BTreeSet<&str>) -> BTreeMap<String, Vec<u64>> {
    let mut lines: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for (first_line, text) in documents(text) {
        let Ok(value) = serde_saphyr::from_str_with_options::<Value>(text, options()) else {
            continue;
        };
        let document = Document::new("", text, first_line);
        let mut take = |object: &Value, before: &[Step]| {
            let uid = object.pointer("/metadata/uid").and_then(Value::as_str);
            let Some(uid) = uid.filter(|uid| uids.contains(uid)) else {
                return;
            };
            let path = [before, &["metadata".into(), "uid".into()]].concat();
            if let Some(line) = document.line_of(&path) {
                lines.entry(uid.to_owned()).or_default().push(line);
            }
        };
        match value.get("items").and_then(Value::as_array) {
            Some(items) => {
                for (index, item) in items.iter().enumerate() {
                    take(item, &["items".into(), Step::Index(index)]);
                }
            }
            None => take(&value, &[]),
        }
    }
    lines
}
