//! Who may ask the API server what.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::Container;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, Role};
use plimsoll_collector::cluster::access::{GROUP, Resource};
use plimsoll_collector::cluster::kinds;
use plimsoll_tests::apiserver::Grant;
use plimsoll_tests::manifest;

use super::objects::Objects;
use super::root;

/// What it asks of whom it lets in.
const ASKED: [(&str, &str); 2] = [
    ("authentication.k8s.io", "tokenreviews"),
    ("authorization.k8s.io", "subjectaccessreviews"),
];

/// What a ClusterRole grants, of all objects of a kind alike.
fn rights(objects: &Objects, role: &str) -> BTreeSet<Grant> {
    let rules = manifest::rules(&objects.all, "ClusterRole", role).unwrap();
    assert!(rules.iter().all(|rule| rule.get("resourceNames").is_none()));
    manifest::grants(rules)
}

fn grant(group: &str, resource: &str, verb: &str) -> Grant {
    [group, resource, verb].map(str::to_owned).into()
}

fn role(objects: &Objects, name: &str) -> ClusterRole {
    objects.one("ClusterRole", "", name)
}

#[test]
fn the_collector_lists_watches_and_asks_and_nothing_else() {
    let watched = kinds::BUILT_IN.iter().chain(&kinds::OPTIONAL);
    let watched =
        watched.flat_map(|kind| ["list", "watch"].map(|verb| grant(kind.group, kind.plural, verb)));
    let asked = ASKED.map(|(group, resource)| grant(group, resource, "create"));
    let expected: BTreeSet<Grant> = watched.chain(asked).collect();
    for objects in Objects::each() {
        // With rules of its own it would lose all rights for a moment whenever it is applied.
        assert_eq!(role(&objects, "plimsoll-collector").rules, None);
        let found = rights(&objects, "plimsoll-collector");
        assert_eq!(found, expected, "{}", objects.of);
    }
}

/// The one that the documents tell people to write for owners of their own.
#[test]
fn a_role_for_further_owners_is_added_to_the_collectors() {
    let text = std::fs::read_to_string(root().join("docs/operations.md")).unwrap();
    let yaml = text
        .split("```")
        .find_map(|block| block.strip_prefix("yaml\n"));
    let role: ClusterRole = serde_saphyr::from_str(yaml.unwrap()).unwrap();
    let label = "plimsoll.dev/aggregate-to-collector";
    let objects = Objects::read("prod");
    let wanted = self::role(&objects, "plimsoll-collector").aggregation_rule;
    let wanted = wanted.unwrap().cluster_role_selectors.unwrap()[0].clone();
    assert_eq!(wanted.match_labels, role.metadata.labels);
    assert_eq!(role.metadata.labels.unwrap()[label], "true");
    for rule in role.rules.unwrap() {
        assert_eq!(rule.verbs, ["list", "watch"]);
    }
}

#[test]
fn people_get_sizing_and_audit_apart() {
    let only =
        |resource: Resource| BTreeSet::from([grant(GROUP, resource.as_str(), resource.verb())]);
    let objects = Objects::read("prod");
    let sizing = role(&objects, "plimsoll-sizing-reader");
    assert_eq!(
        rights(&objects, "plimsoll-sizing-reader"),
        only(Resource::Sizing)
    );
    let labels = sizing.metadata.labels.unwrap();
    assert_eq!(
        labels["rbac.authorization.k8s.io/aggregate-to-view"],
        "true"
    );
    let events = role(&objects, "plimsoll-audit-events");
    assert_eq!(
        rights(&objects, "plimsoll-audit-events"),
        only(Resource::Audit)
    );
    let marks = events.metadata.labels.unwrap();
    assert!(
        !marks
            .keys()
            .any(|key| key.starts_with("rbac.authorization.k8s.io/")),
        "audit is in no role that people have for something else"
    );
    assert_eq!(role(&objects, "plimsoll-audit-reader").rules, None);
    let read = rights(&objects, "plimsoll-audit-reader");
    assert_eq!(read, only(Resource::Audit));
    let metrics = role(&objects, "plimsoll-metrics-reader").rules.unwrap();
    assert_eq!(
        metrics[0].non_resource_urls.as_ref().unwrap(),
        &["/metrics"]
    );
    assert_eq!(metrics[0].verbs, ["get"]);
}

/// What `plimsoll` asks of the API server: `collector/src/cli/through.rs`, run in `tests/tests/people.rs`.
#[test]
fn the_command_line_finds_the_collector_and_sees_nothing_else() {
    for objects in Objects::each() {
        let role: Role = objects.one("Role", "plimsoll", "plimsoll-cli");
        let rules = role.rules.iter().flatten();
        let names = rules.filter_map(|rule| rule.resource_names.as_ref());
        let names: Vec<_> = names.flatten().collect();
        assert_eq!(names, ["plimsoll-ca"], "of ConfigMaps this one");
        let expected = BTreeSet::from([
            grant("", "pods", "list"),
            grant("", "pods/portforward", "create"),
            grant("", "pods/portforward", "get"),
            grant("", "configmaps", "get"),
        ]);
        let rules = manifest::rules(&objects.all, "Role", "plimsoll-cli").unwrap();
        assert_eq!(manifest::grants(rules), expected);
    }
}

#[test]
fn no_role_reads_secrets_or_is_a_wildcard_and_none_is_the_agents() {
    for objects in Objects::each() {
        assert_eq!(objects.of_kind("Role").count(), 1, "the command line's");
        assert_eq!(objects.of_kind("RoleBinding").count(), 0);
        for object in objects.of_kind("ClusterRole") {
            let role: ClusterRole = serde_json::from_value(object.clone()).unwrap();
            for rule in role.rules.iter().flatten() {
                let words = [
                    rule.api_groups.as_ref(),
                    rule.resources.as_ref(),
                    rule.non_resource_urls.as_ref(),
                    Some(&rule.verbs),
                ];
                for word in words.into_iter().flatten().flatten() {
                    let bad = word.contains('*') || word.contains("secrets") || word.contains('/');
                    assert!(!bad || word == "/metrics", "{}: {word}", objects.of);
                    let writes = [
                        "update",
                        "patch",
                        "delete",
                        "impersonate",
                        "escalate",
                        "bind",
                    ];
                    assert!(!writes.contains(&word.as_str()), "{word}");
                }
            }
        }
        let mut subjects = Vec::new();
        for object in objects.of_kind("ClusterRoleBinding") {
            let binding: ClusterRoleBinding = serde_json::from_value(object.clone()).unwrap();
            for subject in binding.subjects.unwrap() {
                assert_eq!(subject.kind, "ServiceAccount");
                subjects.push(format!(
                    "{}: {}/{}",
                    binding.role_ref.name,
                    subject.namespace.unwrap(),
                    subject.name
                ));
            }
        }
        subjects.sort_unstable();
        assert_eq!(
            subjects,
            [
                "plimsoll-collector: plimsoll/plimsoll-collector",
                "plimsoll-metrics-reader: ops/prometheus-kube-prometheus-prometheus",
            ]
        );
    }
}

/// What holds for every container of either pod.
#[test]
fn every_container_is_of_a_digest_and_says_what_it_takes() {
    for objects in Objects::each() {
        for (name, template) in objects.pods() {
            for container in template.spec.unwrap().containers {
                let Container {
                    image, resources, ..
                } = container;
                let image = image.unwrap();
                let digest = image.split_once("@sha256:").map(|(_, digest)| digest);
                let is_digest =
                    |text: &str| text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit());
                assert!(digest.is_some_and(is_digest), "{name}: {image}");
                let resources = resources.unwrap();
                let requests = resources.requests.unwrap();
                assert!(requests.contains_key("cpu") && requests.contains_key("memory"));
                let limits = resources.limits.unwrap();
                assert!(limits.contains_key("memory"), "{name}");
                assert!(
                    !limits.contains_key("cpu"),
                    "{name}: throttled, it would see late"
                );
            }
        }
    }
}
