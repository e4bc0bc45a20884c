//! Alerts and panels: of metrics that there are, each alert with what to do about it.

use std::collections::BTreeSet;

use serde_json::Value;

use super::objects::Objects;
use super::{COLLECTOR, root};

fn document(name: &str) -> String {
    std::fs::read_to_string(root().join("docs").join(name)).unwrap()
}

fn rules(objects: &Objects) -> Vec<Value> {
    let rule: Value = objects.one("PrometheusRule", COLLECTOR, "plimsoll");
    let groups = rule["spec"]["groups"].as_array().unwrap().clone();
    groups
        .iter()
        .flat_map(|group| group["rules"].as_array().unwrap().clone())
        .collect()
}

/// The metrics that an expression names.
fn metrics(expression: &str) -> BTreeSet<&str> {
    expression
        .split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
        .filter(|word| word.starts_with("plimsoll_"))
        .collect()
}

fn assert_known(what: &str, expression: &str) {
    let known = document("metrics.md");
    let named = metrics(expression);
    // `up` is Prometheus' own.
    assert!(!named.is_empty() || expression.starts_with("up{"), "{what}");
    for metric in named {
        assert!(
            known.contains(&format!("| `{metric}` |")),
            "{what} asks for {metric}, which docs/metrics.md does not list"
        );
    }
}

#[test]
fn every_alert_is_of_metrics_that_exist_and_says_what_to_do() {
    let operations = document("operations.md");
    let rules = rules(&Objects::read("prod"));
    assert!(rules.len() > 10);
    for rule in rules {
        let name = rule["alert"].as_str().unwrap();
        assert_known(name, rule["expr"].as_str().unwrap());
        let severity = rule["labels"]["severity"].as_str().unwrap();
        assert!(
            ["critical", "warning", "info"].contains(&severity),
            "{name}"
        );
        assert!(rule["annotations"]["summary"].is_string(), "{name}");
        assert!(
            operations.contains(&format!("| `{name}` |")),
            "docs/operations.md does not say what to do about {name}"
        );
    }
}

/// What somebody does to a node or in its name: nothing is lost by it, so that no other alert tells it.
#[test]
fn what_is_a_sign_of_somebody_else_is_an_alert() {
    let rules = rules(&Objects::read("prod"));
    for metric in [
        "plimsoll_agent_cgroups_relabelled",
        "plimsoll_collector_nodes_with_two_agents",
        "plimsoll_collector_stream_missing_records",
    ] {
        let of = |rule: &&Value| rule["expr"].as_str().unwrap().contains(metric);
        assert!(rules.iter().any(|rule| of(&rule)), "{metric}");
    }
}

#[test]
fn every_panel_is_of_metrics_that_exist() {
    let map: k8s_openapi::api::core::v1::ConfigMap =
        Objects::read("prod").one("ConfigMap", COLLECTOR, "plimsoll-dashboard");
    let dashboard: Value = serde_json::from_str(&map.data.unwrap()["plimsoll.json"]).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    assert!(panels.len() > 10);
    for panel in panels {
        let title = panel["title"].as_str().unwrap();
        for target in panel["targets"].as_array().unwrap() {
            assert_known(title, target["expr"].as_str().unwrap());
        }
    }
}

/// kube-prometheus-stack takes no others, unless it is told to.
#[test]
fn what_prometheus_reads_has_the_label_that_it_selects_by() {
    for objects in Objects::each() {
        let group = "monitoring.coreos.com/v1";
        let read = objects.all.iter().filter(|one| one["apiVersion"] == group);
        let names: Vec<_> = read
            .inspect(|one| assert_eq!(one["metadata"]["labels"]["release"], "prometheus"))
            .map(|one| one["kind"].as_str().unwrap())
            .collect();
        assert_eq!(names, ["PodMonitor", "PrometheusRule", "ServiceMonitor"]);
    }
}

#[test]
fn what_is_scraped_is_what_is_served() {
    for objects in Objects::each() {
        let agents: Value = objects.one("PodMonitor", "plimsoll-agent", "plimsoll-agent");
        let endpoint = &agents["spec"]["podMetricsEndpoints"][0];
        assert_eq!(endpoint["port"], "health");
        let collector: Value = objects.one("ServiceMonitor", COLLECTOR, "plimsoll-collector");
        let endpoint = &collector["spec"]["endpoints"][0];
        assert_eq!(
            (&endpoint["port"], &endpoint["scheme"]),
            (&"https".into(), &"https".into())
        );
        assert_eq!(endpoint["tlsConfig"]["insecureSkipVerify"], Value::Null);
        assert_eq!(
            endpoint["tlsConfig"]["serverName"],
            "plimsoll-collector.plimsoll.svc"
        );
    }
}
