//! Lists, lists in lists, and what a server says in the place of objects.
//!
//! Owns which values of a document are to be objects, and where each stands. Knows no kind of object.

use serde_json::Value;

use super::{Document, Parsed, Step, text_of};

/// Lists within one another; `kubectl get -o json` makes one, whoever puts its answers together two.
pub(super) const MAX_LISTS: usize = 8;
/// Characters of a server's message that are repeated.
const MAX_MESSAGE: usize = 300;

/// What is to be an object, and its place in the document.
pub(super) type Item = (Value, Vec<Step>);

impl Document<'_> {
    /// What is to be an object: the document, or of a list each item.
    pub(super) fn items(&self, value: Value, into: &mut Parsed) -> Vec<Item> {
        let mut items = Vec::new();
        self.collect(value, Vec::new(), 0, into, &mut items);
        items
    }

    fn collect(
        &self,
        value: Value,
        at: Vec<Step>,
        depth: usize,
        into: &mut Parsed,
        items: &mut Vec<Item>,
    ) {
        if let Some((field, word)) = no_object(&value) {
            into.broken = true;
            into.problems
                .push(self.problem(&below(&at, &[field.into()]), &word));
            return;
        }
        let (list, of, items_at) = match (ListOf::read(&value), value) {
            (Some(of), mut list) => {
                if let Some(word) = of.part(&list) {
                    let place = below(&at, &["metadata".into(), "continue".into()]);
                    into.problems.push(self.problem(&place, &word));
                }
                match list.get_mut("items").map(Value::take) {
                    Some(Value::Array(list)) => (list, of, below(&at, &["items".into()])),
                    Some(Value::Null) | None => return,
                    Some(_) => {
                        let must = "a list's items must be a sequence";
                        into.problems
                            .push(self.problem(&below(&at, &["items".into()]), must));
                        return;
                    }
                }
            }
            (None, Value::Array(list)) => (list, ListOf::default(), at.clone()),
            (None, other) => {
                items.push((other, at));
                return;
            }
        };
        if depth == MAX_LISTS {
            let must = format!("more than {MAX_LISTS} lists within one another are not read");
            into.problems.push(self.problem(&at, &must));
            return;
        }
        for (index, item) in list.into_iter().enumerate() {
            let place = below(&items_at, &[Step::Index(index)]);
            self.collect(of.name(item), place, depth + 1, into, items);
        }
    }
}

fn below(at: &[Step], steps: &[Step]) -> Vec<Step> {
    at.iter().chain(steps).cloned().collect()
}

/// What a list is of. The API server names kind and version only once, for all of its items;
/// `kubectl get -o yaml` names them in each item, of a list of kind `List`.
#[derive(Default)]
struct ListOf {
    kind: String,
    version: String,
}

impl ListOf {
    /// `None` for what is no list: an object may be of a kind whose name ends in `List`, but a list
    /// has no name of its own.
    fn read(value: &Value) -> Option<Self> {
        let kind = text_of(value, "kind")?;
        let kind = kind.strip_suffix("List")?;
        let has_name = value.pointer("/metadata/name").is_some();
        (value.get("items").is_some() || !has_name).then(|| Self {
            kind: kind.to_owned(),
            version: text_of(value, "apiVersion").unwrap_or_default(),
        })
    }

    /// Names an item's kind and version where the item names neither.
    fn name(&self, mut item: Value) -> Value {
        if let Value::Object(fields) = &mut item
            && !self.kind.is_empty()
            && !fields.contains_key("kind")
            && !fields.contains_key("apiVersion")
        {
            fields.insert("kind".to_owned(), self.kind.as_str().into());
            fields.insert("apiVersion".to_owned(), self.version.as_str().into());
        }
        item
    }

    /// Whether it is a list whose rest the server wants to be asked for
    /// (<https://kubernetes.io/docs/reference/using-api/api-concepts/#retrieving-large-results-sets-in-chunks>).
    fn part(&self, list: &Value) -> Option<String> {
        let next = list.pointer("/metadata/continue").and_then(Value::as_str);
        next.filter(|next| !next.is_empty())?;
        let rest = list
            .pointer("/metadata/remainingItemCount")
            .and_then(Value::as_u64);
        let rest = rest.map_or_else(|| "the rest".to_owned(), |count| format!("{count} more"));
        Some(format!(
            "{}List: is the first part of a list, {rest} are not in it; ask without `limit`",
            self.kind
        ))
    }
}

/// A server's answer that is no object and no list of any: the field that says so, and what it is.
fn no_object(value: &Value) -> Option<(&'static str, String)> {
    let (kind, version) = (text_of(value, "kind")?, text_of(value, "apiVersion")?);
    let ask = "ask for the objects whole, as `kubectl get -o json` does";
    match (version.as_str(), kind.as_str()) {
        ("v1", "Status") => Some(("kind", status(value))),
        (meta, "Table") if meta.starts_with("meta.k8s.io/") => Some((
            "kind",
            format!("a Table is made for the eye and holds no objects; {ask}"),
        )),
        (meta, "PartialObjectMetadata" | "PartialObjectMetadataList")
            if meta.starts_with("meta.k8s.io/") =>
        {
            Some((
                "kind",
                format!("{kind} holds names without what they stand for; {ask}"),
            ))
        }
        _ => None,
    }
}

/// `Status` of the API server in words.
fn status(value: &Value) -> String {
    let code = value.get("code").and_then(Value::as_u64);
    let code = code.map(|code| code.to_string());
    let said = ["message", "reason", "status"].map(|field| text_of(value, field));
    let said = said.into_iter().flatten().find(|said| !said.is_empty());
    let said: Option<String> = said.map(|said| said.chars().take(MAX_MESSAGE).collect());
    let parts = [code, said].into_iter().flatten();
    let parts: Vec<String> = parts.collect();
    format!(
        "the server's answer is a Status and no objects: {}",
        parts.join(": ")
    )
}
