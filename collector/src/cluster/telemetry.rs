//! The metrics of what is followed at the API server. Kinds that only some clusters have, and that are
//! none of ours by name, are `owner` together: labels come from a closed set.

use std::collections::BTreeMap;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::census::{Census, Failure, Row, State};
use super::kinds;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KindLabels {
    kind: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StateLabels {
    kind: &'static str,
    state: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FailureLabels {
    kind: &'static str,
    reason: &'static str,
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    state: Family<StateLabels, Gauge>,
    changes: Family<KindLabels, Counter>,
    listings: Family<KindLabels, Counter>,
    malformed: Family<KindLabels, Counter>,
    failures: Family<FailureLabels, Counter>,
    synced: Gauge,
}

/// What a kind is called in labels.
fn label(group: &str, kind: &str) -> &'static str {
    kinds::of(group, kind).map_or("owner", |of| of.kind)
}

impl Metrics {
    /// Registers every metric, with its help text.
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "cluster_kinds",
            "Kinds of Kubernetes objects by how far they are known: unknown, listing, live, absent, denied",
            self.state.clone(),
        );
        registry.register(
            "cluster_changes",
            "Kubernetes objects and deletions that the API server told of, by kind",
            self.changes.clone(),
        );
        registry.register(
            "cluster_listings",
            "Whole listings of a kind; more than one is a watch that had to begin anew",
            self.listings.clone(),
        );
        registry.register(
            "cluster_malformed",
            "Kubernetes objects that could not be read and were left out, by kind",
            self.malformed.clone(),
        );
        registry.register(
            "cluster_failures",
            "Requests to the API server and streams that came to nothing, by kind and reason",
            self.failures.clone(),
        );
        registry.register(
            "cluster_synced",
            "1 if all objects that name containers are known, and each change of them is told; 0 while the API server does not answer or the account may not see them",
            self.synced.clone(),
        );
    }

    /// Copies the census into the metrics.
    pub fn show(&self, census: &Census, now: Duration) {
        self.synced.set(census.is_told(now).into());
        let mut of = BTreeMap::<&'static str, Vec<Row>>::new();
        for ((group, kind), row) in census.rows() {
            of.entry(label(&group, &kind)).or_default().push(row);
        }
        for (kind, rows) in of {
            self.show_kind(kind, &rows);
        }
    }

    fn show_kind(&self, kind: &'static str, rows: &[Row]) {
        for state in State::ALL {
            let count = rows.iter().filter(|row| row.state == state).count();
            let labels = StateLabels {
                kind,
                state: state.as_str(),
            };
            self.state
                .get_or_create(&labels)
                .set(i64::try_from(count).unwrap_or(i64::MAX));
        }
        let sum = |of: &dyn Fn(&Row) -> u64| rows.iter().map(of).sum::<u64>();
        let labels = KindLabels { kind };
        set(
            &self.changes.get_or_create(&labels),
            sum(&|row| row.changes),
        );
        set(
            &self.listings.get_or_create(&labels),
            sum(&|row| row.listings),
        );
        set(
            &self.malformed.get_or_create(&labels),
            sum(&|row| row.malformed),
        );
        for failure in Failure::ALL {
            let labels = FailureLabels {
                kind,
                reason: failure.as_str(),
            };
            let of_it = |row: &Row| row.failures.get(&failure).copied().unwrap_or_default();
            set(&self.failures.get_or_create(&labels), sum(&of_it));
        }
    }
}

fn set(counter: &Counter, count: u64) {
    counter
        .inner()
        .store(count, std::sync::atomic::Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;
    use kube::core::{ApiResource, GroupVersionKind};

    #[test]
    fn every_kind_is_shown_and_strangers_are_shown_together() {
        let census = Census::default();
        let pods = kinds::BUILT_IN.iter().find(|of| of.kind == "Pod").unwrap();
        let pods = pods.resource();
        census.set(&pods, State::Live);
        census.changed(&pods);
        census.failed(&pods, Failure::Expired, "", Duration::ZERO);
        census.malformed(&pods, Duration::ZERO);
        for kind in ["Fleet", "Squad"] {
            let of = ApiResource::from_gvk(&GroupVersionKind::gvk("example.com", "v1", kind));
            census.set(&of, State::Denied);
        }
        let (metrics, mut registry) = (Metrics::default(), Registry::default());
        metrics.register(&mut registry);
        metrics.show(&census, Duration::ZERO);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        let shown: Vec<&str> = text
            .lines()
            .filter(|line| !line.starts_with('#') && !line.ends_with(" 0"))
            .collect();
        let mut shown = shown;
        shown.sort_unstable();
        let expected = [
            r#"cluster_changes_total{kind="Pod"} 1"#,
            r#"cluster_failures_total{kind="Pod",reason="expired"} 1"#,
            r#"cluster_kinds{kind="Pod",state="live"} 1"#,
            r#"cluster_kinds{kind="owner",state="denied"} 2"#,
            r#"cluster_listings_total{kind="Pod"} 1"#,
            r#"cluster_malformed_total{kind="Pod"} 1"#,
        ];
        assert_eq!(shown, expected);
    }
}
