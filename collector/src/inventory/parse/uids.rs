//! On which lines of a text the UIDs of its objects stand: read only to say it of those that two have.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{Parsed, Step, each_document};

/// The lines of each of these UIDs, in the order of the text; those of owners are not among them, nor
/// those of what [`parse`](super::parse) takes for no object.
pub fn uid_lines(text: &str, uids: &BTreeSet<&str>) -> BTreeMap<String, Vec<Option<u64>>> {
    let mut lines: BTreeMap<String, Vec<Option<u64>>> = BTreeMap::new();
    each_document("", text, |document, value| {
        let items = document.items(value.unwrap_or_default(), &mut Parsed::default());
        for (item, at) in items {
            let uid = item.pointer("/metadata/uid").and_then(Value::as_str);
            let Some(uid) = uid.filter(|uid| uids.contains(uid)).map(str::to_owned) else {
                continue;
            };
            let mut taken = Parsed::default();
            document.take_one(item, &at, &mut taken);
            if !taken.objects.is_empty() {
                let path: Vec<Step> = at
                    .into_iter()
                    .chain(["metadata".into(), "uid".into()])
                    .collect();
                lines.entry(uid).or_default().push(document.line_of(&path));
            }
        }
    });
    lines
}
