//! One object as text: without its type, as lists carry it, so that it can be sent in a list, in an
//! event or as mere metadata without being parsed again.

use std::fmt::Debug;
use std::fmt::Write as _;
use std::sync::Arc;

use anyhow::{Context, Result};
use serde_json::Value;

use super::catalog::Resource;
use super::store::Name;

/// Text that is made when it is asked for: 50,000 generated pods need not be held.
pub trait Recipe: Debug + Send + Sync {
    /// The members of `metadata` but for `resourceVersion`, without braces.
    fn metadata(&self, out: &mut String);
    /// What follows `metadata`: `,"spec":…,"status":…`.
    fn rest(&self, out: &mut String);
    /// The whole object, without version and type.
    fn whole(&self) -> String {
        let mut text = String::from("{\"metadata\":{");
        self.metadata(&mut text);
        text.push('}');
        self.rest(&mut text);
        text.push('}');
        text
    }
}

#[derive(Clone, Debug)]
enum Text {
    Held { metadata: Arc<str>, rest: Arc<str> },
    Made(Arc<dyn Recipe>),
}

/// An object, and the version it has.
#[derive(Clone, Debug)]
pub(super) struct Object {
    namespace: String,
    name: String,
    version: u64,
    text: Text,
}

impl Object {
    /// From an object with or without `kind` and `apiVersion`.
    ///
    /// # Errors
    /// It has no name.
    pub(super) fn parse(mut object: Value) -> Result<Self> {
        let members = object.as_object_mut().context("an object is no map")?;
        members.remove("kind");
        members.remove("apiVersion");
        let mut metadata = members.remove("metadata").context("no metadata")?;
        let metadata = metadata.as_object_mut().context("metadata is no map")?;
        let text = |name: &str| metadata.get(name).and_then(Value::as_str);
        let name = text("name").context("no metadata.name")?.to_owned();
        let namespace = text("namespace").unwrap_or_default().to_owned();
        let version = text("resourceVersion").and_then(|v| v.parse().ok());
        metadata.remove("resourceVersion");
        let metadata = serde_json::to_string(metadata).context("metadata")?;
        let mut rest = String::new();
        for (key, value) in members {
            write!(rest, ",{}:{value}", Value::from(key.as_str())).context("an object")?;
        }
        Ok(Self {
            namespace,
            name,
            version: version.unwrap_or(0),
            text: Text::Held {
                metadata: without_braces(&metadata).into(),
                rest: rest.into(),
            },
        })
    }

    /// One that is made when it is asked for.
    pub(super) fn made(name: Name, version: u64, recipe: Arc<dyn Recipe>) -> Self {
        let (namespace, name) = name;
        Self {
            namespace,
            name,
            version,
            text: Text::Made(recipe),
        }
    }

    pub(super) fn name(&self) -> Name {
        (self.namespace.clone(), self.name.clone())
    }

    pub(super) fn version(&self) -> u64 {
        self.version
    }

    pub(super) fn set_version(&mut self, version: u64) {
        self.version = version;
    }

    /// `"metadata":{…}`
    fn write_metadata(&self, out: &mut String) {
        out.push_str("\"metadata\":{");
        match &self.text {
            Text::Held { metadata, .. } => out.push_str(metadata),
            Text::Made(recipe) => recipe.metadata(out),
        }
        out.push_str(",\"resourceVersion\":\"");
        out.push_str(&self.version.to_string());
        out.push_str("\"}");
    }

    fn write_whole(&self, out: &mut String) {
        self.write_metadata(out);
        match &self.text {
            Text::Held { rest, .. } => out.push_str(rest),
            Text::Made(recipe) => recipe.rest(out),
        }
        out.push('}');
    }

    /// As the items of a list are: without kind and apiVersion.
    pub(super) fn write_item(&self, out: &mut String) {
        out.push('{');
        self.write_whole(out);
    }

    /// As events and answers to `get` are.
    pub(super) fn write_typed(&self, resource: &Resource, out: &mut String) {
        out.push_str(&resource.typed());
        self.write_whole(out);
    }

    /// As a PartialObjectMetadata, which says its type in lists too.
    pub(super) fn write_partial(&self, out: &mut String) {
        out.push_str(PARTIAL);
        self.write_metadata(out);
        out.push('}');
    }

    /// Whether its labels have all of these values.
    pub(super) fn has_labels(&self, labels: &[(String, String)]) -> bool {
        let mut text = String::new();
        self.write_item(&mut text);
        let value: Value = serde_json::from_str(&text).unwrap_or_default();
        let has = |(label, of): &(String, String)| value["metadata"]["labels"][label] == *of;
        labels.iter().all(has)
    }

    /// `spec.nodeName`, what a field selector may ask for; empty without.
    pub(super) fn node(&self) -> String {
        let mut text = String::new();
        self.write_item(&mut text);
        let value: Value = serde_json::from_str(&text).unwrap_or_default();
        let node = value["spec"]["nodeName"].as_str();
        node.unwrap_or_default().to_owned()
    }
}

/// The beginning of a PartialObjectMetadata.
pub(super) const PARTIAL: &str =
    r#"{"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/v1","#;

fn without_braces(text: &str) -> &str {
    let inner = text.strip_prefix('{').and_then(|t| t.strip_suffix('}'));
    inner.unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_is_written_as_it_was_with_the_version_it_has() {
        let given = serde_json::json!({"kind": "Pod", "apiVersion": "v1", "spec": {"a": [1]},
            "metadata": {"name": "x", "namespace": "n", "resourceVersion": "7"}, "status": {}});
        let mut object = Object::parse(given.clone()).unwrap();
        assert_eq!(object.version(), 7);
        let mut text = String::new();
        object.write_item(&mut text);
        let mut item: Value = serde_json::from_str(&text).unwrap();
        item["kind"] = "Pod".into();
        item["apiVersion"] = "v1".into();
        assert_eq!(item, given);
        object.set_version(9);
        text.clear();
        object.write_partial(&mut text);
        let partial: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(partial["metadata"]["resourceVersion"], "9");
        assert!(partial.get("spec").is_none());
    }
}
