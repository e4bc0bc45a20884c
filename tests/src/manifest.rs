//! What the manifests say, read from `daemonset/rendered/prod.yaml`: which rights a role grants.
//!
//! The text is in the program: a machine of the lab has no repository. It knows no API server.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::apiserver::Grant;

const PROD: &str = include_str!("../../daemonset/rendered/prod.yaml");

/// Each object of a rendering.
///
/// # Errors
/// A document is no YAML.
pub fn objects(rendering: &str) -> Result<Vec<Value>> {
    let documents = rendering.split("\n---\n");
    documents
        .map(|document| serde_saphyr::from_str(document).context("a rendered object"))
        .collect()
}

/// The rules of a role, and before them those of the roles that are added to it by their labels.
///
/// # Errors
/// There is no such role.
pub fn rules<'a>(objects: &'a [Value], kind: &str, role: &str) -> Result<Vec<&'a Value>> {
    let of_kind = || objects.iter().filter(|object| object["kind"] == kind);
    let own = of_kind().find(|object| object["metadata"]["name"] == role);
    let own = own.with_context(|| format!("no {kind} {role} is rendered"))?;
    let selectors = own["aggregationRule"]["clusterRoleSelectors"].as_array();
    let selectors = selectors.into_iter().flatten();
    let wanted: Vec<_> = selectors
        .filter_map(|selector| selector["matchLabels"].as_object())
        .collect();
    let added = of_kind().filter(|object| {
        let labels = &object["metadata"]["labels"];
        let is_met = |(key, value): (&String, &Value)| labels[key] == *value;
        wanted.iter().any(|wanted| wanted.iter().all(is_met))
    });
    let rules = added.chain([own]).map(|role| role["rules"].as_array());
    Ok(rules.flatten().flatten().collect())
}

/// What rules grant. The names that some are confined to are not in it.
pub fn grants<'a>(rules: impl IntoIterator<Item = &'a Value>) -> BTreeSet<Grant> {
    let mut grants = BTreeSet::new();
    for rule in rules {
        for group in words(rule, "apiGroups") {
            for plural in words(rule, "resources") {
                let verbs = words(rule, "verbs");
                grants.extend(verbs.map(|verb| [group, plural, verb].map(str::to_owned).into()));
            }
        }
    }
    grants
}

fn words<'a>(rule: &'a Value, key: &str) -> impl Iterator<Item = &'a str> {
    let words = rule[key].as_array().into_iter().flatten();
    words.filter_map(Value::as_str)
}

/// What the collector may ask of the API server.
///
/// # Errors
/// It is not rendered.
pub fn granted_to_the_collector() -> Result<BTreeSet<Grant>> {
    granted("ClusterRole", "plimsoll-collector")
}

/// What people may who use the command line.
///
/// # Errors
/// It is not rendered.
pub fn granted_to_people() -> Result<BTreeSet<Grant>> {
    granted("Role", "plimsoll-cli")
}

fn granted(kind: &str, role: &str) -> Result<BTreeSet<Grant>> {
    let objects = objects(PROD)?;
    let granted = grants(rules(&objects, kind, role)?);
    ensure!(!granted.is_empty(), "the {kind} {role} grants nothing");
    Ok(granted)
}
