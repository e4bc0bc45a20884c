//! What the manifests grant, as the scripted API server is told it: `daemonset/rendered/prod.yaml`.

use std::path::Path;

use plimsoll_tests::apiserver::Grant;
use serde_json::Value;

/// Each object of the rendering.
fn objects() -> Vec<Value> {
    let rendered = Path::new(env!("CARGO_MANIFEST_DIR")).join("../daemonset/rendered/prod.yaml");
    let text = std::fs::read_to_string(rendered).unwrap();
    let documents = text.split("\n---\n");
    documents
        .map(|document| serde_saphyr::from_str(document).unwrap())
        .collect()
}

fn words<'a>(rule: &'a Value, key: &str) -> impl Iterator<Item = &'a str> {
    let words = rule[key].as_array().into_iter().flatten();
    words.map(|word| word.as_str().unwrap())
}

/// The rules of this role, and of those that are added to it by their labels.
pub(crate) fn by(kind: &str, role: &str) -> Vec<Grant> {
    let objects = objects();
    let of_kind = || objects.iter().filter(|object| object["kind"] == kind);
    let own = of_kind().find(|object| object["metadata"]["name"] == role);
    let own = own.unwrap_or_else(|| panic!("no {kind} {role}"));
    let selected = &own["aggregationRule"]["clusterRoleSelectors"][0]["matchLabels"];
    let added = of_kind().filter(|object| {
        let labels = &object["metadata"]["labels"];
        let wanted = selected.as_object();
        wanted.is_some_and(|wanted| wanted.iter().all(|(key, value)| labels[key] == *value))
    });
    let mut grants = Vec::new();
    for rule in added
        .chain([own])
        .flat_map(|role| role["rules"].as_array().into_iter().flatten())
    {
        for group in words(rule, "apiGroups") {
            for plural in words(rule, "resources") {
                for verb in words(rule, "verbs") {
                    grants.push((group.to_owned(), plural.to_owned(), verb.to_owned()));
                }
            }
        }
    }
    assert!(!grants.is_empty(), "{role}");
    grants
}

/// What the collector may do.
pub(crate) fn to_the_collector() -> Vec<Grant> {
    by("ClusterRole", "plimsoll-collector")
}
