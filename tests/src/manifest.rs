//! What the manifests say, read from `daemonset/rendered/prod.yaml`: which rights a role grants, and who
//! the collector's container is.
//!
//! The text is in the program: a machine of the lab has no repository. It knows no API server.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};

use crate::apiserver::Grant;
use crate::confine::User;

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

/// Who the collector's container is, and that it is kept apart by nothing but what [`confine`] does.
///
/// [`confine`]: crate::confine
///
/// # Errors
/// Its StatefulSet says something else of it.
pub fn collector_user() -> Result<User> {
    let objects = objects(PROD)?;
    let mut sets = objects.iter().filter(|it| it["kind"] == "StatefulSet");
    let set = sets.find(|it| it["metadata"]["name"] == "plimsoll-collector");
    let pod = &set.context("no StatefulSet of the collector")?["spec"]["template"]["spec"];
    let containers = pod["containers"].as_array().map(Vec::as_slice);
    let Some([container]) = containers else {
        bail!("the collector's pod has another number of containers than one");
    };
    let kept = &container["securityContext"];
    let done = json!({
        "privileged": false,
        "allowPrivilegeEscalation": false,
        "readOnlyRootFilesystem": true,
        "capabilities": {"drop": ["ALL"]},
    });
    ensure!(*kept == done, "the collector's container has {kept}");
    let of_pod = &pod["securityContext"];
    let profile = &of_pod["seccompProfile"];
    ensure!(
        *profile == json!({"type": "RuntimeDefault"}),
        "the collector's seccompProfile is {profile}"
    );
    let id = |field: &str| {
        let id = of_pod[field].as_u64().and_then(|id| u32::try_from(id).ok());
        id.with_context(|| format!("the collector's {field} is {}", of_pod[field]))
    };
    Ok(User {
        uid: id("runAsUser")?,
        gid: id("runAsGroup")?,
        group: id("fsGroup")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rights_of_added_roles_are_the_role_s() {
        let role = |name: &str, label: &str, rules: Value| {
            json!({"kind": "ClusterRole", "metadata": {"name": name, "labels": {label: "true"}},
                "rules": rules})
        };
        let listed = |plural: &str| json!([{"apiGroups": [""], "resources": [plural], "verbs": ["list", "get"]}]);
        let mut own = role("own", "none", Value::Null);
        own["aggregationRule"] =
            json!({"clusterRoleSelectors": [{"matchLabels": {"added": "true"}}]});
        let objects = [
            role("one", "added", listed("pods")),
            own,
            role("other", "elsewhere", listed("nodes")),
        ];
        let granted = grants(rules(&objects, "ClusterRole", "own").unwrap());
        let grant = |verb: &str| ["", "pods", verb].map(str::to_owned).into();
        assert_eq!(granted, BTreeSet::from([grant("get"), grant("list")]));
        assert!(rules(&objects, "Role", "own").is_err());
    }

    #[test]
    fn the_collector_is_who_its_statefulset_says() {
        let user = "65532:65532:65532".parse().unwrap();
        assert_eq!(collector_user().unwrap(), user);
    }
}
