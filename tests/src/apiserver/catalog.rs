//! Which kinds the server serves and what it says of them: the recorded discovery documents, less
//! the groups that a test takes away, and the paths that follow from them.

use std::collections::BTreeSet;

use serde_json::{Value, json};

macro_rules! recorded {
    ($name:literal) => {
        include_str!(concat!("../../recorded/kube/discovery/", $name))
    };
}

const VERSION: &str = recorded!("version.json");
const API: &str = recorded!("api.json");
const APIS: &str = recorded!("apis.json");
const API_AGGREGATED: &str = recorded!("api-aggregated.json");
const APIS_AGGREGATED: &str = recorded!("apis-aggregated.json");
/// The kinds of each group and version that was recorded.
const KINDS: &[(&str, &str)] = &[
    ("v1", recorded!("api-v1.json")),
    ("apps/v1", recorded!("apis-apps-v1.json")),
    ("batch/v1", recorded!("apis-batch-v1.json")),
    (
        "networking.k8s.io/v1",
        recorded!("apis-networking.k8s.io-v1.json"),
    ),
    ("autoscaling/v2", recorded!("apis-autoscaling-v2.json")),
    (
        "discovery.k8s.io/v1",
        recorded!("apis-discovery.k8s.io-v1.json"),
    ),
    ("policy/v1", recorded!("apis-policy-v1.json")),
    (
        "authentication.k8s.io/v1",
        recorded!("apis-authentication.k8s.io-v1.json"),
    ),
    (
        "authorization.k8s.io/v1",
        recorded!("apis-authorization.k8s.io-v1.json"),
    ),
    (
        "argoproj.io/v1alpha1",
        recorded!("apis-argoproj.io-v1alpha1.json"),
    ),
];

/// A kind of objects and where it is served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Resource {
    /// Empty for the core group.
    pub(super) group: String,
    pub(super) version: String,
    pub(super) plural: String,
    pub(super) kind: String,
    pub(super) namespaced: bool,
}

impl Resource {
    /// A custom resource: in lists, too, such objects say their type.
    pub(super) fn is_custom(&self) -> bool {
        self.group.contains('.') && !self.group.ends_with(".k8s.io")
    }

    pub(super) fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.clone()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }

    /// The beginning of an object with its type.
    pub(super) fn typed(&self) -> String {
        let (kind, version) = (&self.kind, self.api_version());
        format!("{{\"kind\":\"{kind}\",\"apiVersion\":\"{version}\",")
    }

    /// As errors name it: `deployments.apps`.
    pub(super) fn qualified(&self) -> String {
        if self.group.is_empty() {
            self.plural.clone()
        } else {
            format!("{}.{}", self.plural, self.group)
        }
    }
}

/// What a path means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// A discovery document, or the version.
    Document(String),
    /// `/livez`, `/readyz`, `/healthz`.
    Health,
    /// The objects of a kind, in one namespace or all; `resource` is an index.
    Collection {
        resource: usize,
        namespace: Option<String>,
    },
    /// One object.
    Object {
        resource: usize,
        namespace: String,
        name: String,
    },
    /// A review is created here: its plural.
    Review(String),
    /// An aggregated API whose backend is missing.
    Stale,
    /// A group, or a version of it, that is not served: text, not a Status.
    UnknownGroup,
    /// A kind that a known group does not have.
    UnknownResource,
    /// No API path at all.
    Other,
}

#[derive(Debug)]
pub(super) struct Catalog {
    resources: Vec<Resource>,
    hidden: BTreeSet<String>,
    stale: BTreeSet<String>,
}

impl Default for Catalog {
    fn default() -> Self {
        Self {
            resources: KINDS
                .iter()
                .flat_map(|(of, text)| kinds(of, text))
                .collect(),
            hidden: BTreeSet::new(),
            stale: BTreeSet::new(),
        }
    }
}

fn parsed(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_default()
}

fn split(api_version: &str) -> (&str, &str) {
    api_version.split_once('/').unwrap_or(("", api_version))
}

fn kinds(api_version: &str, text: &str) -> Vec<Resource> {
    let (group, version) = split(api_version);
    let document = parsed(text);
    let kinds = document["resources"].as_array().cloned();
    let resource = |of: &Value| Resource {
        group: group.to_owned(),
        version: version.to_owned(),
        plural: of["name"].as_str().unwrap_or_default().to_owned(),
        kind: of["kind"].as_str().unwrap_or_default().to_owned(),
        namespaced: of["namespaced"] == true,
    };
    let all = kinds.unwrap_or_default();
    let own = |of: &&Resource| !of.plural.contains('/');
    all.iter()
        .map(resource)
        .collect::<Vec<_>>()
        .iter()
        .filter(own)
        .cloned()
        .collect()
}

impl Catalog {
    /// The index of a kind by its group (empty for core) and plural.
    pub(super) fn find(&self, group: &str, plural: &str) -> Option<usize> {
        let is = |r: &Resource| r.group == group && r.plural == plural;
        self.resources.iter().position(is)
    }

    /// The index of a kind by `apiVersion` and `kind`.
    pub(super) fn find_kind(&self, api_version: &str, kind: &str) -> Option<usize> {
        let is = |r: &Resource| r.kind == kind && r.api_version() == api_version;
        self.resources.iter().position(is)
    }

    pub(super) fn get(&self, resource: usize) -> Option<&Resource> {
        self.resources.get(resource)
    }

    /// Takes a group away, as in a cluster where its CRDs are not installed.
    pub(super) fn hide(&mut self, group: &str) {
        self.hidden.insert(group.to_owned());
    }

    /// Gives a hidden group back: its CRDs are installed now.
    pub(super) fn show(&mut self, group: &str) {
        self.hidden.remove(group);
    }

    /// An aggregated API that does not answer: `metrics.k8s.io` as recorded.
    pub(super) fn set_stale(&mut self, group: &str, stale: bool) {
        if stale {
            self.stale.insert(group.to_owned());
        } else {
            self.stale.remove(group);
        }
    }

    /// What a path means; `path` has no query.
    pub(super) fn target(&self, path: &str) -> Target {
        let parts: Vec<_> = path.trim_matches('/').split('/').collect();
        match parts.as_slice() {
            ["version" | "api" | "apis"] => Target::Document(path.to_owned()),
            ["livez" | "readyz" | "healthz", ..] => Target::Health,
            ["api", "v1", rest @ ..] => self.within(path, "", "v1", rest),
            ["apis", group] if self.serves(group, None) => Target::Document(path.to_owned()),
            ["apis", group, ..] if self.stale.contains(*group) => Target::Stale,
            ["apis", group, version, rest @ ..] if self.serves(group, Some(version)) => {
                self.within(path, group, version, rest)
            }
            ["api" | "apis", ..] => Target::UnknownGroup,
            _ => Target::Other,
        }
    }

    fn serves(&self, group: &str, version: Option<&str>) -> bool {
        let is = |r: &Resource| r.group == group && version.is_none_or(|v| r.version == v);
        !self.hidden.contains(group) && self.resources.iter().any(is)
    }

    fn within(&self, path: &str, group: &str, version: &str, rest: &[&str]) -> Target {
        let named = |plural: &str| {
            let is = |r: &Resource| r.group == group && r.version == version && r.plural == plural;
            self.resources.iter().position(is)
        };
        let scoped = |at: usize| self.get(at).is_some_and(|r| r.namespaced);
        match rest {
            [] => Target::Document(path.to_owned()),
            [plural] if plural.ends_with("reviews") && named(plural).is_some() => {
                Target::Review((*plural).to_owned())
            }
            [plural] => {
                named(plural).map_or(Target::UnknownResource, |resource| Target::Collection {
                    resource,
                    namespace: None,
                })
            }
            ["namespaces", namespace, plural] => match named(plural) {
                Some(resource) if scoped(resource) => Target::Collection {
                    resource,
                    namespace: Some((*namespace).to_owned()),
                },
                _ => Target::UnknownResource,
            },
            ["namespaces", namespace, plural, name] => match named(plural) {
                Some(resource) if scoped(resource) => Target::Object {
                    resource,
                    namespace: (*namespace).to_owned(),
                    name: (*name).to_owned(),
                },
                _ => Target::UnknownResource,
            },
            [plural, name] => match named(plural) {
                Some(resource) if !scoped(resource) => Target::Object {
                    resource,
                    namespace: String::new(),
                    name: (*name).to_owned(),
                },
                _ => Target::UnknownResource,
            },
            _ => Target::UnknownResource,
        }
    }

    /// The text of a discovery document; `aggregated` is asked for by the Accept header.
    pub(super) fn document(&self, path: &str, aggregated: bool) -> Option<String> {
        let path = path.trim_matches('/');
        match path {
            "version" => Some(VERSION.to_owned()),
            "api" if aggregated => Some(API_AGGREGATED.to_owned()),
            "api" => Some(API.to_owned()),
            "apis" if aggregated => Some(self.groups(APIS_AGGREGATED, "items", true)),
            "apis" => Some(self.groups(APIS, "groups", false)),
            _ => {
                let of = path.split_once('/').map_or(path, |(_, of)| of);
                let known = KINDS.iter().find(|(version, _)| *version == of);
                known.map_or_else(|| self.group(of), |(_, text)| Some((*text).to_owned()))
            }
        }
    }

    /// A list of groups, byte for byte as recorded as long as nothing is hidden or stale.
    fn groups(&self, text: &str, member: &str, aggregated: bool) -> String {
        if self.hidden.is_empty() && self.stale.is_empty() {
            return text.to_owned();
        }
        let mut document = parsed(text);
        let Some(groups) = document[member].as_array_mut() else {
            return text.to_owned();
        };
        groups.retain(|group| {
            let name = if aggregated {
                &group["metadata"]["name"]
            } else {
                &group["name"]
            };
            !name.as_str().is_some_and(|name| self.hidden.contains(name))
        });
        for name in &self.stale {
            groups.push(if aggregated {
                json!({"metadata": {"name": name},
                    "versions": [{"version": "v1beta1", "freshness": "Stale"}]})
            } else {
                let version =
                    json!({"groupVersion": format!("{name}/v1beta1"), "version": "v1beta1"});
                json!({"name": name, "versions": [version], "preferredVersion": version})
            });
        }
        document.to_string()
    }

    /// `/apis/GROUP`: an APIGroup.
    fn group(&self, name: &str) -> Option<String> {
        let document = parsed(APIS);
        let mut groups = document["groups"].as_array()?.iter();
        let mut group = groups.find(|g| g["name"] == name)?.clone();
        group["kind"] = "APIGroup".into();
        group["apiVersion"] = "v1".into();
        (!self.hidden.contains(name)).then(|| group.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_mean_what_they_mean_to_a_real_server() {
        let mut catalog = Catalog::default();
        let pods = catalog.find("", "pods").unwrap();
        let all = Target::Collection {
            resource: pods,
            namespace: None,
        };
        assert_eq!(catalog.target("/api/v1/pods"), all);
        assert!(matches!(
            catalog.target("/api/v1/namespaces/shop/pods/web"),
            Target::Object { resource, .. } if resource == pods
        ));
        assert!(matches!(
            catalog.target("/api/v1/namespaces/shop"),
            Target::Object { .. }
        ));
        assert!(matches!(
            catalog.target("/api/v1/nodes/n"),
            Target::Object { .. }
        ));
        assert_eq!(
            catalog.target("/apis/apps/v1/pods"),
            Target::UnknownResource
        );
        assert_eq!(catalog.target("/apis/nope/v1/pods"), Target::UnknownGroup);
        assert_eq!(catalog.target("/apis/apps/v2"), Target::UnknownGroup);
        assert_eq!(catalog.target("/metrics"), Target::Other);
        let rollouts = "/apis/argoproj.io/v1alpha1/rollouts";
        assert!(matches!(
            catalog.target(rollouts),
            Target::Collection { .. }
        ));
        assert!(
            catalog
                .document("/apis", false)
                .unwrap()
                .contains("argoproj.io")
        );
        catalog.hide("argoproj.io");
        assert_eq!(catalog.target(rollouts), Target::UnknownGroup);
        assert!(
            !catalog
                .document("/apis", false)
                .unwrap()
                .contains("argoproj.io")
        );
        catalog.set_stale("metrics.k8s.io", true);
        assert_eq!(
            catalog.target("/apis/metrics.k8s.io/v1beta1/pods"),
            Target::Stale
        );
        assert!(catalog.document("/apis", true).unwrap().contains("Stale"));
    }
}
