//! What OTLP says of an event beside the event itself: whose it is (the resource) and what one looks for (attributes),
//! by the names of OpenTelemetry's semantic conventions. Pure.
//!
//! Only what the event says is said: what is not known is left out. Of an event in another form than OCSF 1.8, or of an
//! older version's, little is.

use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use serde::Deserialize;

use crate::config::sinks::otlp::Otlp as Settings;

/// Attributes in the order in which they are written.
pub type Attributes = Vec<(String, Said)>;

/// A value.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Said {
    /// A text.
    Text(String),
    /// A number.
    Number(i64),
}

/// What is read of an event.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Event {
    severity_id: i64,
    metadata: Metadata,
    device: Device,
    actor: Actor,
    src_endpoint: Endpoint,
    dst_endpoint: Endpoint,
    http_request: HttpRequest,
    unmapped: Unmapped,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Metadata {
    log_name: String,
    product: Product,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Product {
    version: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Device {
    hostname: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Actor {
    process: Process,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Process {
    pid: Option<i64>,
    file: File,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct File {
    path: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Endpoint {
    ip: Option<String>,
    port: Option<i64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct HttpRequest {
    http_method: Option<String>,
    user_agent: Option<String>,
    url: Url,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Url {
    url_string: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Unmapped {
    kubernetes: Names,
    identity: Identity,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Names {
    namespace: Option<String>,
    pod: Option<String>,
    container: Option<String>,
    workload_kind: Option<String>,
    workload_name: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Identity {
    subject: Subject,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Subject {
    pod_uid: Option<String>,
    container_id: Option<String>,
}

impl Event {
    /// As far as it can be read.
    pub fn of(text: &str) -> Self {
        serde_json::from_str(text).unwrap_or_default()
    }

    /// The event's name: `metadata.log_name`.
    pub fn name(&self) -> &str {
        &self.metadata.log_name
    }

    /// The version that wrote it.
    pub fn version(&self) -> &str {
        &self.metadata.product.version
    }

    /// Severity's number ("Mapping of SeverityNumber" in OpenTelemetry's data model of logs) and word.
    pub const fn severity(&self) -> (i32, &'static str) {
        match self.severity_id {
            1 => (9, "Informational"),
            2 => (10, "Low"),
            3 => (13, "Medium"),
            4 => (17, "High"),
            5 => (18, "Critical"),
            6 => (21, "Fatal"),
            99 => (0, "Other"),
            _ => (0, "Unknown"),
        }
    }

    /// Whose it is: a node, and of what is about a pod or a container that.
    pub fn resource(&self, settings: &Common) -> Attributes {
        let mut all = settings.0.clone();
        let names = &self.unmapped.kubernetes;
        let subject = &self.unmapped.identity.subject;
        put(&mut all, "service.version", Some(self.version()));
        put(&mut all, "host.name", self.device.hostname.as_deref());
        put(&mut all, "k8s.node.name", self.device.hostname.as_deref());
        put(&mut all, "k8s.namespace.name", names.namespace.as_deref());
        put(&mut all, "k8s.pod.name", names.pod.as_deref());
        put(&mut all, "k8s.pod.uid", subject.pod_uid.as_deref());
        put(&mut all, "k8s.container.name", names.container.as_deref());
        put(&mut all, "container.id", subject.container_id.as_deref());
        let workload = names.workload_kind.as_deref().and_then(workload);
        if let Some(key) = workload {
            put(&mut all, key, names.workload_name.as_deref());
        }
        all
    }

    /// What one looks for.
    pub fn attributes(&self, uid: &str) -> Attributes {
        let mut all = Attributes::new();
        let (from, to, asked) = (&self.src_endpoint, &self.dst_endpoint, &self.http_request);
        let process = &self.actor.process;
        put(&mut all, "log.record.uid", Some(uid));
        put(&mut all, "source.address", from.ip.as_deref());
        put_number(&mut all, "source.port", from.port);
        put(&mut all, "destination.address", to.ip.as_deref());
        put_number(&mut all, "destination.port", to.port);
        put(
            &mut all,
            "http.request.method",
            asked.http_method.as_deref(),
        );
        put(&mut all, "url.full", asked.url.url_string.as_deref());
        put(&mut all, "user_agent.original", asked.user_agent.as_deref());
        put_number(&mut all, "process.pid", process.pid);
        put(
            &mut all,
            "process.executable.path",
            process.file.path.as_deref(),
        );
        all
    }
}

/// What everything of a sink has alike.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Common(Attributes);

impl Common {
    /// Of these settings.
    pub fn new(settings: &Settings) -> Self {
        let mut all = Attributes::new();
        put(&mut all, "service.name", Some("plimsoll"));
        let (account, region) = (&settings.cloud_account_id, &settings.cloud_region);
        if account.is_some() || region.is_some() {
            put(&mut all, "cloud.provider", Some("aws"));
        }
        put(&mut all, "cloud.account.id", account.as_deref());
        put(&mut all, "cloud.region", region.as_deref());
        put(
            &mut all,
            "k8s.cluster.name",
            settings.cluster_name.as_deref(),
        );
        Self(all)
    }
}

/// The attribute that a workload's name is under.
fn workload(kind: &str) -> Option<&'static str> {
    Some(match kind {
        "CronJob" => "k8s.cronjob.name",
        "DaemonSet" => "k8s.daemonset.name",
        "Deployment" => "k8s.deployment.name",
        "Job" => "k8s.job.name",
        "ReplicaSet" => "k8s.replicaset.name",
        "StatefulSet" => "k8s.statefulset.name",
        _ => return None,
    })
}

fn put(all: &mut Attributes, key: &str, value: Option<&str>) {
    if let Some(value) = value.filter(|value| !value.is_empty()) {
        all.push((key.to_owned(), Said::Text(value.to_owned())));
    }
}

fn put_number(all: &mut Attributes, key: &str, value: Option<i64>) {
    if let Some(value) = value {
        all.push((key.to_owned(), Said::Number(value)));
    }
}

/// As OTLP writes them.
pub fn written(attributes: Attributes) -> Vec<KeyValue> {
    let written = attributes.into_iter().map(|(key, value)| {
        let value = match value {
            Said::Text(text) => Value::StringValue(text),
            Said::Number(number) => Value::IntValue(number),
        };
        KeyValue {
            key,
            value: Some(AnyValue { value: Some(value) }),
            ..KeyValue::default()
        }
    });
    written.collect()
}
