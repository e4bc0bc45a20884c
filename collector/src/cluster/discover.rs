//! Whether the cluster has a kind, and in which version: what CustomResourceDefinitions and aggregated
//! servers have added.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{APIGroupList, APIResourceList};
use kube::Client;
use kube::core::{ApiResource, GroupVersionKind};

use super::kinds::Kind;
use crate::errors;

/// A kind that is looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) group: String,
    /// Taken if it is served, else the one that the server prefers.
    pub(super) version: String,
    pub(super) kind: String,
}

impl From<&Kind> for Wanted {
    fn from(kind: &Kind) -> Self {
        Self {
            group: kind.group.to_owned(),
            version: kind.version.to_owned(),
            kind: kind.kind.to_owned(),
        }
    }
}

impl Wanted {
    /// A kind of owners, by its `apiVersion`.
    pub(super) fn owner((api_version, kind): (&str, &str)) -> Self {
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        Self {
            group: group.to_owned(),
            version: version.to_owned(),
            kind: kind.to_owned(),
        }
    }

    pub(super) fn name(&self) -> (String, String) {
        (self.group.clone(), self.kind.clone())
    }

    /// As far as it is known without the server.
    pub(super) fn resource(&self) -> ApiResource {
        ApiResource::from_gvk(&GroupVersionKind::gvk(
            &self.group,
            &self.version,
            &self.kind,
        ))
    }

    /// Versions to ask for, the best first; none if the group is not served.
    fn versions(&self, groups: &APIGroupList) -> Vec<String> {
        if self.group.is_empty() {
            return vec![self.version.clone()];
        }
        let Some(group) = groups.groups.iter().find(|of| of.name == self.group) else {
            return Vec::new();
        };
        let served: Vec<&str> = group
            .versions
            .iter()
            .map(|of| of.version.as_str())
            .collect();
        let preferred = group.preferred_version.iter().map(|of| of.version.as_str());
        let wanted = served.iter().copied().filter(|of| *of == self.version);
        let mut versions: Vec<String> = Vec::new();
        for version in wanted.chain(preferred).chain(served.iter().copied()) {
            if !versions.iter().any(|known| known == version) {
                versions.push(version.to_owned());
            }
        }
        versions
    }

    fn among(&self, version: &str, resources: &APIResourceList) -> Option<ApiResource> {
        let can = |verbs: &[String], verb: &str| verbs.iter().any(|of| of == verb);
        let found = resources.resources.iter().find(|of| {
            // A subresource has a slash: `rollouts/scale`.
            of.kind == self.kind
                && !of.name.contains('/')
                && can(&of.verbs, "list")
                && can(&of.verbs, "watch")
        })?;
        let named = GroupVersionKind::gvk(&self.group, version, &self.kind);
        Some(ApiResource::from_gvk_with_plural(&named, &found.name))
    }
}

/// What became of a search.
#[derive(Clone, Debug)]
pub(super) enum Found {
    /// It is there.
    Served(ApiResource),
    /// It is not, or cannot be followed.
    Absent,
    /// The server did not say.
    Unknown(String),
}

/// Looks for kinds.
pub(super) async fn find(client: &Client, wanted: Vec<Wanted>) -> Vec<(Wanted, Found)> {
    let groups = match client.list_api_groups().await {
        Ok(groups) => groups,
        Err(error) => {
            let why = Found::Unknown(errors::chain(&error));
            return wanted.into_iter().map(|of| (of, why.clone())).collect();
        }
    };
    let mut known = BTreeMap::new();
    let mut all = Vec::new();
    for of in wanted {
        let found = find_one(client, &of, &groups, &mut known).await;
        all.push((of, found));
    }
    all
}

/// What each version of a group serves, as the server said it, or why it did not.
type Known = BTreeMap<String, Result<APIResourceList, kube::Error>>;

async fn find_one(client: &Client, of: &Wanted, groups: &APIGroupList, known: &mut Known) -> Found {
    let mut unknown = None;
    for version in of.versions(groups) {
        let api_version = if of.group.is_empty() {
            version.clone()
        } else {
            format!("{}/{version}", of.group)
        };
        if !known.contains_key(&api_version) {
            let served = if of.group.is_empty() {
                client.list_core_api_resources(&version).await
            } else {
                client.list_api_group_resources(&api_version).await
            };
            known.insert(api_version.clone(), served);
        }
        match known.get(&api_version) {
            Some(Ok(resources)) => {
                if let Some(found) = of.among(&version, resources) {
                    return Found::Served(found);
                }
            }
            Some(Err(kube::Error::Api(status))) if status.code == 404 => {}
            Some(Err(error)) => unknown = Some(errors::chain(error)),
            None => {}
        }
    }
    unknown.map_or(Found::Absent, Found::Unknown)
}
