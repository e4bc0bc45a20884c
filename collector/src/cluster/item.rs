//! An object as the API server wrote it, of which nothing is read yet but its metadata.
//!
//! What is in it is read by whoever knows its kind, so that an object that is not as it should be costs
//! itself, and not the list or the stream that it is in.

use std::borrow::Cow;
use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::Resource;
use kube::core::{ApiResource, DynamicResourceScope};
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use serde_json::value::RawValue;

/// See the module. Where not the `WHOLE` object is wanted, the server is asked for its metadata alone
/// (`PartialObjectMetadata`).
#[derive(Clone, Debug)]
pub(super) struct Item<const WHOLE: bool> {
    /// Name, namespace, UID, version, labels and owners.
    pub(super) metadata: ObjectMeta,
    /// All of it.
    pub(super) text: Box<RawValue>,
}

impl<'de, const WHOLE: bool> Deserialize<'de> for Item<WHOLE> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Box::<RawValue>::deserialize(deserializer)?;
        Ok(Self {
            metadata: metadata(text.get()),
            text,
        })
    }
}

/// What of the metadata is in use. `managedFields`, half of many an object, is passed over.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Metadata {
    name: Option<String>,
    namespace: Option<String>,
    uid: Option<String>,
    resource_version: Option<String>,
    labels: Option<BTreeMap<String, String>>,
    owner_references: Option<Vec<OwnerReference>>,
}

fn metadata(text: &str) -> ObjectMeta {
    #[derive(Deserialize)]
    struct Head {
        #[serde(default)]
        metadata: Metadata,
    }
    let metadata = match serde_json::from_str::<Head>(text) {
        Ok(head) => head.metadata,
        Err(_) => as_far_as_it_goes(text),
    };
    ObjectMeta {
        name: metadata.name,
        namespace: metadata.namespace,
        uid: metadata.uid,
        resource_version: metadata.resource_version,
        labels: metadata.labels,
        owner_references: metadata.owner_references,
        ..ObjectMeta::default()
    }
}

/// Of metadata that is not as it should be: what the stream is followed by, and what names the object in
/// a message.
fn as_far_as_it_goes(text: &str) -> Metadata {
    let object: Value = serde_json::from_str(text).unwrap_or_default();
    let text = |field| {
        let value = object.get("metadata")?.get(field)?;
        value.as_str().map(str::to_owned)
    };
    Metadata {
        name: text("name"),
        namespace: text("namespace"),
        uid: text("uid"),
        resource_version: text("resourceVersion"),
        ..Metadata::default()
    }
}

impl<const WHOLE: bool> Resource for Item<WHOLE> {
    type DynamicType = ApiResource;
    type Scope = DynamicResourceScope;

    fn kind(of: &ApiResource) -> Cow<'_, str> {
        of.kind.as_str().into()
    }

    fn group(of: &ApiResource) -> Cow<'_, str> {
        of.group.as_str().into()
    }

    fn version(of: &ApiResource) -> Cow<'_, str> {
        of.version.as_str().into()
    }

    fn plural(of: &ApiResource) -> Cow<'_, str> {
        of.plural.as_str().into()
    }

    fn metadata_api() -> bool {
        !WHOLE
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

#[cfg(test)]
mod tests {
    use kube::core::WatchEvent;

    use super::*;

    #[test]
    fn an_object_is_kept_as_it_is_and_its_metadata_read() {
        let text = r#"{"metadata":{"name":"a","namespace":"n","uid":"u","resourceVersion":"7","labels":{"k":"v"},"managedFields":[{"x":[1]}],"ownerReferences":[{"apiVersion":"apps/v1","kind":"ReplicaSet","name":"r","uid":"x","controller":true}]},"spec":{"containers":3}}"#;
        let event = format!(r#"{{"type":"MODIFIED","object":{text}}}"#);
        let WatchEvent::Modified(item) =
            serde_json::from_str::<WatchEvent<Item<true>>>(&event).unwrap()
        else {
            panic!("a change")
        };
        assert_eq!(item.text.get(), text);
        let meta = &item.metadata;
        assert_eq!(meta.resource_version.as_deref(), Some("7"));
        assert_eq!(meta.labels.as_ref().unwrap()["k"], "v");
        assert_eq!(meta.owner_references.as_ref().unwrap()[0].name, "r");
        assert!(meta.managed_fields.is_none());
    }

    /// The stream goes on from the version of the last object, whatever else of it cannot be read.
    #[test]
    fn metadata_that_is_not_as_it_should_be_is_read_as_far_as_it_goes() {
        let text =
            r#"{"metadata":{"name":"a","resourceVersion":"7","labels":[1],"uid":{}},"spec":null}"#;
        let item: Item<true> = serde_json::from_str(text).unwrap();
        let meta = &item.metadata;
        assert_eq!(
            (meta.name.as_deref(), meta.resource_version.as_deref()),
            (Some("a"), Some("7"))
        );
        assert_eq!((&meta.uid, &meta.labels), (&None, &None));
    }
}
