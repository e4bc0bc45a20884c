//! The settings of the sinks: where audit events are sent besides the audit file, which of them, and in what
//! form. Pure.
//!
//! [`SinkSettings`] is what stands in the file, one option for each kind of sink; [`Sink`] is what it means once
//! it was checked. A further kind is an option there, a variant of [`SinkKind`] and its own checks.

pub mod elasticsearch;
pub mod hec;
mod http;
pub mod lake;
pub mod otlp;
pub mod syslog;

use std::path::PathBuf;

use plimsoll_settings::names_of;
use plimsoll_wire::AuditEvent;
use serde::Deserialize;

use self::elasticsearch::Elasticsearch;
use self::hec::Hec;
pub use self::lake::SecurityLake;
use self::otlp::Otlp;
pub use self::syslog::Syslog;
use super::Data;
use super::check::{Checks, is_name};
use crate::ocsf::types::SeverityId;
use crate::sinks::cloudwatch::limits;

/// A place that audit events are sent to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sink {
    /// Its name in metrics, logs and cursors.
    pub name: String,
    /// Where it sends to.
    pub kind: SinkKind,
    /// What it says of an event.
    pub format: Format,
    /// Which events it sends.
    pub route: Route,
}

/// What a sink is, with the settings of its kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SinkKind {
    /// CloudWatch Logs.
    CloudWatch(CloudWatch),
    /// Splunk's HTTP Event Collector.
    Hec(Hec),
    /// Files in a folder.
    File(File),
    /// A bucket of Amazon Security Lake.
    SecurityLake(Box<SecurityLake>),
    /// Standard output.
    Stdout,
    /// A receiver of syslog.
    Syslog(Syslog),
    /// Elasticsearch or OpenSearch.
    Elasticsearch(Elasticsearch),
    /// A receiver of OTLP.
    Otlp(Otlp),
}

/// A sink as the configuration writes it: a name, exactly one kind, a form and a route.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SinkSettings {
    /// Its name.
    pub name: String,
    /// CloudWatch Logs.
    pub cloudwatch: Option<CloudWatch>,
    /// Splunk's HTTP Event Collector.
    pub hec: Option<Hec>,
    /// Files in a folder.
    pub file: Option<File>,
    /// A bucket of Amazon Security Lake.
    pub security_lake: Option<SecurityLake>,
    /// Standard output.
    pub stdout: bool,
    /// A receiver of syslog.
    pub syslog: Option<Syslog>,
    /// Elasticsearch or OpenSearch.
    pub elasticsearch: Option<Elasticsearch>,
    /// A receiver of OTLP.
    pub otlp: Option<Otlp>,
    /// What it says of an event; what the kind is for without, see [`SinkKind::format`].
    pub format: Option<Format>,
    /// Which events it sends.
    pub route: Route,
}

/// A log group of CloudWatch Logs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CloudWatch {
    /// The log group.
    pub group: String,
    /// Beginning of the streams' names; each life of the collector's chain has a stream `PREFIX/EPOCH`.
    pub stream: String,
    /// The Region; the environment's without.
    pub region: Option<String>,
    /// Where the service is, if not at the Region's own address.
    pub endpoint: Option<String>,
    /// Whether a group that is missing is made.
    pub create_group: bool,
}

/// Files in a folder.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct File {
    /// Folder.
    pub path: PathBuf,
    /// Bytes after which a file is closed and the next begun.
    pub rotate_bytes: u64,
    /// Closed files kept; the oldest is removed beyond that.
    pub keep_files: usize,
}

impl Default for File {
    fn default() -> Self {
        Self {
            path: PathBuf::new(),
            rotate_bytes: 64 << 20,
            keep_files: 16,
        }
    }
}

/// What is said of an event (docs/events.md).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub enum Format {
    /// OCSF 1.8.
    #[default]
    #[serde(rename = "ocsf-1.8")]
    Ocsf18,
    /// OCSF 1.3, what Security Lake takes.
    #[serde(rename = "ocsf-1.3")]
    Ocsf13,
    /// Elastic Common Schema.
    #[serde(rename = "ecs")]
    Ecs,
    /// ArcSight's Common Event Format.
    #[serde(rename = "cef")]
    Cef,
}

/// Which events a sink sends: those that all of its conditions hold for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Route {
    /// Kinds of events; all without.
    pub classes: Vec<EventClass>,
    /// Severity at the least; any without.
    pub min_severity: Option<Severity>,
    /// Namespaces of the pods concerned; all, and what concerns no pod, without.
    pub namespaces: Vec<String>,
}

/// A kind of event, by the name that its line has in `event`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EventClass {
    /// A metadata request.
    Imds,
    /// An OOM kill.
    OomKill,
    /// A container ended.
    ContainerEnd,
    /// Something was lost.
    Loss,
    /// Records about somebody else's pod were refused.
    Misplaced,
    /// An agent is silent, or heard again, or goes back.
    Agent,
    /// An agent lives.
    Heartbeat,
}

impl From<&AuditEvent> for EventClass {
    fn from(event: &AuditEvent) -> Self {
        match event {
            AuditEvent::Imds(_) => Self::Imds,
            AuditEvent::OomKill(_) => Self::OomKill,
            AuditEvent::ContainerEnd(_) => Self::ContainerEnd,
            AuditEvent::Loss(_) => Self::Loss,
            AuditEvent::Misplaced(_) => Self::Misplaced,
            AuditEvent::Agent(_) => Self::Agent,
            AuditEvent::Heartbeat(_) => Self::Heartbeat,
        }
    }
}

/// How grave an event is at the least.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Whatever was graded.
    Informational = 1,
    /// From `Low` on.
    Low,
    /// From `Medium` on.
    Medium,
    /// From `High` on.
    High,
    /// `Critical` and `Fatal`.
    Critical,
}

impl Route {
    /// Whether an event is sent: its kind, its severity, and the namespace of the pod that it concerns, if it
    /// concerns one. An event of unknown severity is graver than any, so that none is left out for want of a
    /// grade.
    pub fn matches(
        &self,
        class: EventClass,
        severity: SeverityId,
        namespace: Option<&str>,
    ) -> bool {
        let is_grave = |least: Severity| {
            severity == SeverityId::Unknown || severity.number() >= i64::from(least as u8)
        };
        let is_of = |namespace: &str| self.namespaces.iter().any(|of| of == namespace);
        (self.classes.is_empty() || self.classes.contains(&class))
            && self.min_severity.is_none_or(is_grave)
            && (self.namespaces.is_empty() || namespace.is_some_and(is_of))
    }
}

impl SinkKind {
    /// What it says of an event if nobody says otherwise.
    pub const fn format(&self) -> Format {
        match self {
            Self::Elasticsearch(_) => Format::Ecs,
            _ => Format::Ocsf18,
        }
    }
}

/// Names of the kinds, as they stand in the configuration.
const KINDS: &str = "cloudwatch, hec, file, security_lake, stdout, syslog, elasticsearch, otlp";

impl SinkSettings {
    /// What it means, if it has exactly one kind.
    pub fn checked(&self) -> Option<Sink> {
        let mut kinds = self.kinds();
        let kind = kinds.pop().filter(|_| kinds.is_empty())?;
        Some(Sink {
            name: self.name.clone(),
            format: self.format.unwrap_or(kind.format()),
            kind,
            route: self.route.clone(),
        })
    }

    fn kinds(&self) -> Vec<SinkKind> {
        let cloudwatch = self.cloudwatch.clone().map(SinkKind::CloudWatch);
        let hec = self.hec.clone().map(SinkKind::Hec);
        let file = self.file.clone().map(SinkKind::File);
        let lake = self.security_lake.clone();
        let lake = lake.map(|lake| SinkKind::SecurityLake(Box::new(lake)));
        let stdout = self.stdout.then_some(SinkKind::Stdout);
        let syslog = self.syslog.clone().map(SinkKind::Syslog);
        let elasticsearch = self.elasticsearch.clone().map(SinkKind::Elasticsearch);
        let otlp = self.otlp.clone().map(SinkKind::Otlp);
        let kinds = cloudwatch.into_iter().chain(hec).chain(file);
        kinds
            .chain(lake)
            .chain(stdout)
            .chain(syslog)
            .chain(elasticsearch)
            .chain(otlp)
            .collect()
    }

    fn check(&self, place: &str, checks: &mut Checks) {
        let of_name = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        checks.that(
            (1..=40).contains(&self.name.len()) && self.name.bytes().all(of_name),
            &format!("{place}.name"),
            "be a name: 40 small letters, digits and `-` at the most",
        );
        let kinds = self.kinds().len();
        checks.that(
            kinds == 1,
            place,
            &format!("have exactly one of {KINDS}, and has {kinds}"),
        );
        if let Some(cloudwatch) = &self.cloudwatch {
            cloudwatch.check(&format!("{place}.cloudwatch"), checks);
        }
        if let Some(hec) = &self.hec {
            hec.check(&format!("{place}.hec"), checks);
        }
        if let Some(file) = &self.file {
            file.check(&format!("{place}.file"), checks);
        }
        if let Some(lake) = &self.security_lake {
            lake.check(&format!("{place}.security_lake"), self.format, checks);
        }
        if let Some(syslog) = &self.syslog {
            syslog.check(&format!("{place}.syslog"), checks);
        }
        if let Some(elasticsearch) = &self.elasticsearch {
            elasticsearch.check(&format!("{place}.elasticsearch"), checks);
            checks.that(
                self.format != Some(Format::Cef),
                &format!("{place}.format"),
                "be ecs, ocsf-1.8 or ocsf-1.3 for elasticsearch: a document is an object",
            );
        }
        if let Some(otlp) = &self.otlp {
            otlp.check(&format!("{place}.otlp"), checks);
            checks.that(
                self.format.is_none_or(|format| format == Format::Ocsf18),
                &format!("{place}.format"),
                "be ocsf-1.8 for otlp: its records say of an event what that form says",
            );
        }
        for (at, namespace) in self.route.namespaces.iter().enumerate() {
            checks.that(
                is_name(namespace) && !namespace.contains('.') && namespace.len() <= 63,
                &format!("{place}.route.namespaces[{at}]"),
                "be a namespace's name, as kube-system",
            );
        }
    }
}

impl CloudWatch {
    fn check(&self, place: &str, checks: &mut Checks) {
        checks.that(
            limits::is_group_name(&self.group),
            &format!("{place}.group"),
            limits::MUST_BE_A_GROUP_NAME,
        );
        checks.that(
            limits::is_stream_prefix(&self.stream),
            &format!("{place}.stream"),
            limits::MUST_BE_A_STREAM_PREFIX,
        );
        checks.that(
            self.region.as_deref().is_none_or(is_region),
            &format!("{place}.region"),
            MUST_BE_A_REGION,
        );
        checks.that(
            self.endpoint.as_deref().is_none_or(is_endpoint),
            &format!("{place}.endpoint"),
            MUST_BE_AN_ENDPOINT,
        );
    }
}

const MUST_BE_A_REGION: &str = "be a Region, as eu-west-1";
const MUST_BE_AN_ENDPOINT: &str =
    "be https://HOST or https://HOST:PORT; http:// is taken only for loopback addresses";

fn is_region(name: &str) -> bool {
    let of_region = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=40).contains(&name.len()) && name.bytes().all(of_region)
}

fn is_endpoint(text: &str) -> bool {
    let Ok(uri) = text.parse::<hyper::Uri>() else {
        return false;
    };
    let host = uri.host().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']');
    let is_loopback = address
        .parse()
        .is_ok_and(|address: std::net::IpAddr| address.is_loopback());
    let is_bare = uri.path() == "/" && uri.query().is_none();
    let has_user = uri.authority().is_some_and(|of| of.as_str().contains('@'));
    let is_safe = match uri.scheme_str() {
        Some("https") => true,
        Some("http") => is_loopback,
        _ => false,
    };
    is_safe && is_bare && !has_user && !host.is_empty()
}

impl File {
    fn check(&self, place: &str, checks: &mut Checks) {
        checks.that(
            !self.path.as_os_str().is_empty(),
            &format!("{place}.path"),
            "be the path of a folder",
        );
        checks.that(
            self.rotate_bytes >= 1 << 16,
            &format!("{place}.rotate_bytes"),
            "be at least 65536",
        );
        checks.that(
            self.keep_files > 0,
            &format!("{place}.keep_files"),
            "be at least 1",
        );
    }
}

/// What metrics call destinations of the collector's own.
const OWN_NAMES: [&str; 3] = ["file", "history", "trail"];

/// Sinks at the most: each has a cursor, a task and its own metrics.
pub const MAX_SINKS: usize = 16;

/// Checks them one by one, and that none takes the name or the folder of another; `taken` is the audit file's
/// folder.
pub(super) fn check(
    sinks: &[SinkSettings],
    taken: &std::path::Path,
    data: &Data,
    checks: &mut Checks,
) {
    checks.that(
        sinks.len() <= MAX_SINKS,
        "sinks",
        &format!("be {MAX_SINKS} at the most"),
    );
    for (at, sink) in sinks.iter().enumerate() {
        let place = format!("sinks[{at}]");
        sink.check(&place, checks);
        let mut others = sinks.iter().take(at);
        checks.that(
            sink.name.is_empty() || others.all(|other| other.name != sink.name),
            &format!("{place}.name"),
            "not be the name of another sink",
        );
        checks.that(
            !OWN_NAMES.contains(&sink.name.as_str()),
            &format!("{place}.name"),
            &format!(
                "not be one of {}, which the collector itself goes by",
                OWN_NAMES.join(", ")
            ),
        );
        let mut others = sinks.iter().take(at);
        checks.that(
            !sink.stdout || others.all(|other| !other.stdout),
            &format!("{place}.stdout"),
            "be of one sink: another has it already",
        );
        if let Some(lake) = &sink.security_lake {
            lake.check_trail(&format!("{place}.security_lake"), data, checks);
        }
        let Some(file) = &sink.file else { continue };
        let others = sinks.iter().take(at).filter_map(|sink| sink.file.as_ref());
        let mut folders = others.map(|other| other.path.as_path()).chain([taken]);
        checks.that(
            file.path.as_os_str().is_empty() || folders.all(|path| path != file.path),
            &format!("{place}.file.path"),
            "not be the folder of another sink or of audit_file",
        );
    }
}

/// Names of the settings in the sections of a sink.
pub(super) fn sections() -> [(&'static str, &'static [&'static str]); 9] {
    [
        ("sinks[].cloudwatch", names_of::<CloudWatch>()),
        ("sinks[].hec", names_of::<Hec>()),
        ("sinks[].file", names_of::<File>()),
        ("sinks[].security_lake", names_of::<SecurityLake>()),
        ("sinks[].security_lake.sources", names_of::<lake::Sources>()),
        ("sinks[].syslog", names_of::<Syslog>()),
        ("sinks[].elasticsearch", names_of::<Elasticsearch>()),
        ("sinks[].otlp", names_of::<Otlp>()),
        ("sinks[].route", names_of::<Route>()),
    ]
}

/// The lists of a sink.
pub(super) fn lists() -> [(&'static str, &'static [&'static str]); 3] {
    [
        ("sinks", names_of::<SinkSettings>()),
        ("sinks[].route.classes", &[]),
        ("sinks[].route.namespaces", &[]),
    ]
}

#[cfg(test)]
mod tests;
