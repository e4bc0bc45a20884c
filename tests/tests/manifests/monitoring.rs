//! Alerts and panels: of metrics that there are, each alert with what to do about it.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::apps::v1::DaemonSet;
use plimsoll_agent::telemetry as agent;
use plimsoll_collector::api::StageRow;
use plimsoll_collector::cluster::census::Census;
use plimsoll_collector::sinks::RefusalKind;
use plimsoll_collector::{cluster, ingest, telemetry as collector};
use plimsoll_wire::event::StageFates;
use plimsoll_wire::fate::Fates;
use prometheus_client::registry::Registry;
use serde_json::Value;

use super::objects::Objects;
use super::{AGENTS, COLLECTOR, root};

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

/// Metrics, their labels and what these can be: what both programs show when everything has happened.
type Served = BTreeMap<String, BTreeMap<String, BTreeSet<String>>>;

fn served() -> Served {
    let mut registry = Registry::default();
    let metrics = agent::Metrics::default();
    metrics.register(&mut registry);
    metrics.show(&agent::Books {
        stages: vec![StageFates {
            stage: "agent".into(),
            class: "security".into(),
            fates: Fates::default(),
        }],
        kernel: agent::KernelRow {
            programs: vec![("connect4".into(), true)],
            ..Default::default()
        },
        exports: plimsoll_agent::export::standing::Standing::default().failures(),
        ..Default::default()
    });
    let mut served = Served::new();
    members(&registry, &mut served);
    let mut registry = Registry::with_prefix(collector::PREFIX);
    ingest::Counts::default().register(&mut registry);
    let watched = cluster::telemetry::Metrics::default();
    watched.register(&mut registry);
    watched.show(&Census::of_all(), std::time::Duration::ZERO);
    let metrics = collector::Metrics::default();
    metrics.register(&mut registry);
    metrics.show(&collector::Books {
        stages: vec![StageRow {
            node: None,
            stage: "journal".into(),
            class: "security".into(),
            destination: None,
            fates: Fates::default(),
        }],
        readers: vec![collector::ReaderRow::default()],
        outlets: vec![collector::OutletRow {
            refusals: RefusalKind::ALL.map(|kind| (kind.label(), 0)).to_vec(),
            ..Default::default()
        }],
        http_refused: vec![("slow", 0)],
        certificates: vec![("http", 0)],
        ..Default::default()
    });
    members(&registry, &mut served);
    // Kinds that the code does not know are shown together.
    let kinds = served.get_mut("plimsoll_collector_cluster_kinds").unwrap();
    kinds.get_mut("kind").unwrap().insert("owner".to_owned());
    served
}

/// Lines `metric{label="value",…} 0`.
fn members(registry: &Registry, served: &mut Served) {
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, registry).unwrap();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (name, labels) = line.split_once('{').unwrap_or((line, ""));
        let name = name.split(' ').next().unwrap();
        let of = served.entry(name.to_owned()).or_default();
        let labels = labels.split_once('}').map_or("", |(labels, _)| labels);
        for (label, value) in labels.split(',').filter_map(|one| one.split_once('=')) {
            let value = value.trim_matches('"').to_owned();
            of.entry(label.to_owned()).or_default().insert(value);
        }
    }
}

/// `metric{label="value"}` of an expression, as (metric, label, values); a pattern is one of several words.
fn selected(expression: &str) -> Vec<(&str, &str, Vec<&str>)> {
    let mut found = Vec::new();
    let mut parts = expression.split('{');
    let mut before = parts.next().unwrap();
    for part in parts {
        let metric = before
            .rsplit(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
            .next();
        let (matchers, rest) = part.split_once('}').unwrap();
        for matcher in matchers.split(',') {
            let (label, value) = matcher.split_once(['=', '!']).unwrap();
            let value = value.trim_start_matches(['=', '~']).trim_matches('"');
            found.push((metric.unwrap(), label, value.split('|').collect()));
        }
        before = rest;
    }
    found
}

/// What is asked for can be: a value that no program ever shows makes an alert that never fires.
fn assert_labels(what: &str, expression: &str, served: &Served) {
    for (metric, label, values) in selected(expression) {
        let known = served
            .get(metric)
            .and_then(|labels| labels.get(label))
            .unwrap_or_else(|| panic!("{what}: {metric} has no label {label}"));
        for value in values {
            assert!(known.contains(value), "{what}: no {label} is {value}");
        }
    }
}

/// What an alert groups by, or puts into its words, is a label of its metrics, or one that is added on the way.
fn assert_named(what: &str, expression: &str, summary: &str, served: &Served) {
    let of_metrics = metrics(expression);
    let labels = of_metrics.iter().filter_map(|metric| served.get(*metric));
    let known: BTreeSet<&str> = labels
        .flat_map(BTreeMap::keys)
        .map(String::as_str)
        // By the PodMonitor.
        .chain(["node"])
        .collect();
    let grouped = expression.split(" by (").skip(1);
    let grouped = grouped.flat_map(|rest| rest.split(')').next().unwrap().split(", "));
    let told = summary.split("$labels.").skip(1);
    let told = told.map(|rest| rest.split([' ', '}']).next().unwrap());
    for label in grouped.chain(told) {
        assert!(known.contains(label), "{what}: {label} is no label");
    }
}

#[test]
fn what_is_asked_of_a_metric_is_what_it_can_say() {
    let objects = Objects::read("prod");
    let mut served = served();
    // Prometheus' own, of what it scrapes.
    let set: DaemonSet = objects.one("DaemonSet", AGENTS, "plimsoll-agent");
    let container = &set.spec.unwrap().template.spec.unwrap().containers[0];
    let up = served.entry("up".to_owned()).or_default();
    up.insert("namespace".into(), [AGENTS.to_owned()].into());
    up.insert("container".into(), [container.name.clone()].into());
    let mut looked = 0;
    for rule in rules(&objects) {
        let (name, expr) = (rule["alert"].as_str().unwrap(), &rule["expr"]);
        let expr = expr.as_str().unwrap();
        looked += selected(expr).len();
        assert_labels(name, expr, &served);
        let summary = rule["annotations"]["summary"].as_str().unwrap();
        assert_named(name, expr, summary, &served);
    }
    assert!(looked > 5, "{looked} labels");
    for (title, expr) in panels(&objects) {
        assert_labels(&title, &expr, &served);
        assert_named(&title, &expr, "", &served);
    }
}

#[test]
fn a_value_that_nobody_shows_is_found() {
    let expression = r#"sum by (node) (a_total{fate=~"lost|shed",stage!="agent"}) > b{kind="Pod"}"#;
    assert_eq!(
        selected(expression),
        [
            ("a_total", "fate", vec!["lost", "shed"]),
            ("a_total", "stage", vec!["agent"]),
            ("b", "kind", vec!["Pod"]),
        ]
    );
    let served = served();
    let metric = |reason: &str| {
        let expression = format!(r#"plimsoll_collector_ingest_refused_total{{reason="{reason}"}}"#);
        std::panic::catch_unwind(|| assert_labels("one", &expression, &served))
    };
    assert!(metric("journal").is_ok());
    assert!(metric("jurnal").is_err());
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
        "plimsoll_collector_agents_silent",
        "plimsoll_collector_agents_rewound_total",
        "plimsoll_collector_stream_missing_records",
    ] {
        let of = |rule: &&Value| rule["expr"].as_str().unwrap().contains(metric);
        assert!(rules.iter().any(|rule| of(&rule)), "{metric}");
    }
}

/// Title and expression of everything that the dashboard shows.
fn panels(objects: &Objects) -> Vec<(String, String)> {
    let map: k8s_openapi::api::core::v1::ConfigMap =
        objects.one("ConfigMap", COLLECTOR, "plimsoll-dashboard");
    let dashboard: Value = serde_json::from_str(&map.data.unwrap()["plimsoll.json"]).unwrap();
    let mut found = Vec::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        let title = panel["title"].as_str().unwrap();
        for target in panel["targets"].as_array().unwrap() {
            found.push((
                title.to_owned(),
                target["expr"].as_str().unwrap().to_owned(),
            ));
        }
    }
    found
}

#[test]
fn every_panel_is_of_metrics_that_exist() {
    let panels = panels(&Objects::read("prod"));
    assert!(panels.len() > 10);
    for (title, expr) in panels {
        assert_known(&title, &expr);
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
