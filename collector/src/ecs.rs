//! Audit events in the Elastic Common Schema (elastic.co/docs/reference/ecs), release 9.4.0.
//!
//! Whose event it is, what was asked and what came back are where Elastic's rules and pages look for them; all of it as
//! it is with us is in `plimsoll`. Pure.

use plimsoll_wire::event::{AgentState, ContainerEnd, ImdsAccess, OomKill};
use plimsoll_wire::identity::Subject;
use plimsoll_wire::{AuditEvent, Identity};
use serde_json::{Map, Value, json};

use crate::api::{AuditRecord, precise};
use crate::ocsf::event::imds::{code, endpoint, has_credentials, number, status, url};
use crate::ocsf::event::{severity, subject, text};
use crate::ocsf::types::StatusId;

/// The release that the fields are of.
pub const VERSION: &str = "9.4.0";

/// A document, by the paths of its fields.
struct Document(Map<String, Value>);

/// The document of a record, as the collector of that version writes it.
pub fn document(record: &AuditRecord, version: &str) -> Value {
    let mut document = Document(Map::new());
    document.common(record, version);
    if let Some(identity) = record.identity() {
        document.container(identity, &record.names);
    }
    match &record.event {
        AuditEvent::Imds(access) => document.imds(access),
        AuditEvent::OomKill(kill) => document.oom_kill(kill),
        AuditEvent::ContainerEnd(end) => document.container_end(record, end),
        AuditEvent::Loss(_) => document.kind("pipeline_error", &[], &["error"]),
        AuditEvent::Misplaced(misplaced) => {
            document.kind("alert", &["intrusion_detection"], &["denied"]);
            document.set(
                "related.hosts",
                json!([misplaced.sender, misplaced.pod_node]),
            );
        }
        AuditEvent::Agent(notice) => {
            match notice.state {
                AgentState::Silent | AgentState::Rewound => {
                    document.kind("alert", &["intrusion_detection"], &["info"]);
                }
                AgentState::Back | AgentState::Left => document.kind("event", &["host"], &["info"]),
            }
            document.set("related.hosts", json!([notice.agent_node]));
        }
        AuditEvent::Heartbeat(heartbeat) => {
            document.kind("state", &["host"], &["info"]);
            document.set("host.boot.id", heartbeat.boot_id.as_str());
            document.set("host.os.kernel", heartbeat.kernel.as_str());
        }
    }
    document.0.into()
}

impl Document {
    fn set(&mut self, path: &str, value: impl Into<Value>) {
        let mut parts = path.split('.').peekable();
        let mut within = &mut self.0;
        while let Some(part) = parts.next() {
            let inner = within.entry(part).or_insert(Value::Null);
            if parts.peek().is_none() {
                *inner = value.into();
                return;
            }
            if !inner.is_object() {
                *inner = Map::new().into();
            }
            let Some(inner) = inner.as_object_mut() else {
                return;
            };
            within = inner;
        }
    }

    fn set_some(&mut self, path: &str, value: Option<impl Into<Value>>) {
        if let Some(value) = value {
            self.set(path, value);
        }
    }

    fn kind(&mut self, kind: &str, categories: &[&str], types: &[&str]) {
        self.set("event.kind", kind);
        if !categories.is_empty() {
            self.set("event.category", categories);
        }
        self.set("event.type", types);
    }

    fn common(&mut self, record: &AuditRecord, version: &str) {
        let names = &record.names;
        self.set("@timestamp", precise(record.time_unix_ns));
        self.set("ecs.version", VERSION);
        self.set("event.id", record.id.to_string());
        self.set("event.sequence", record.id.seq);
        self.set("event.module", "plimsoll");
        self.set("event.dataset", "plimsoll.audit");
        self.set("event.action", record.event.name());
        self.set("event.severity", severity(&record.event).number());
        self.set("host.name", record.id.node.as_str());
        self.set("observer.vendor", "Plimsoll");
        self.set("observer.product", "Plimsoll");
        self.set("observer.version", version);
        self.set("orchestrator.type", "kubernetes");
        self.set_some("orchestrator.namespace", text(names, "namespace"));
        if let Some(pod) = text(names, "pod") {
            self.set("orchestrator.resource.type", "pod");
            self.set("orchestrator.resource.name", pod);
            self.set_some(
                "orchestrator.resource.parent.type",
                text(names, "workload_kind"),
            );
        }
        self.set_some("service.name", text(names, "workload_name"));
        self.set("plimsoll", json!(record.event));
        self.set("plimsoll.names", names.clone());
        self.set(
            "message",
            format!("{}: {}", subject(record), record.event.name()),
        );
    }

    fn container(&mut self, identity: &Identity, names: &Map<String, Value>) {
        self.set_some("orchestrator.resource.id", identity.pod_uid());
        if let Subject::Container {
            container_id,
            runtime,
            ..
        } = &identity.subject
        {
            self.set("container.id", container_id.as_str());
            self.set_some("container.runtime", runtime.as_deref());
            self.set_some("container.name", text(names, "container"));
        }
    }

    fn imds(&mut self, access: &ImdsAccess) {
        let request = &access.request;
        let of = |key: &str| text(request, key).unwrap_or_default();
        let outcome = of("outcome");
        let is_denied = matches!(outcome, "denied" | "auth_failed" | "hop_limit_blocked");
        let types: &[&str] = if is_denied {
            &["access", "denied"]
        } else {
            &["access"]
        };
        self.kind(
            "event",
            &[if has_credentials(request) {
                "api"
            } else {
                "network"
            }],
            types,
        );
        self.set("event.outcome", event_outcome(request));
        self.set_some("event.duration", number(request, "latency_ns"));
        for (side, key) in [("source", "src"), ("destination", "dst")] {
            let end = endpoint(request, key);
            self.set_some(&format!("{side}.ip"), end.ip);
            self.set_some(&format!("{side}.port"), end.port);
        }
        self.set("network.transport", "tcp");
        self.set("network.direction", "egress");
        if request.get("opaque").is_none() {
            self.set("network.protocol", "http");
        }
        self.set_some("http.request.method", text(request, "method"));
        self.set_some("http.response.status_code", code(request));
        self.set_some(
            "http.response.body.bytes",
            number(request, "response_bytes"),
        );
        self.set_some("user_agent.original", text(request, "user_agent"));
        if let Some(url) = url(request) {
            self.set_some("url.full", url.url_string);
            self.set_some("url.path", url.path);
            self.set_some("url.scheme", url.scheme);
            self.set_some("url.domain", url.hostname);
            self.set_some("url.port", url.port);
        }
        if let Some(process) = &access.process {
            self.set("process.pid", process.pid);
            self.set_some("process.name", process.comm.as_deref());
            self.set_some("process.executable", process.exe.as_deref());
            self.set_some("process.command_line", process.cmdline.as_deref());
            self.set_some("process.user.id", process.uid.map(|uid| uid.to_string()));
        }
    }

    fn oom_kill(&mut self, kill: &OomKill) {
        self.kind("event", &["process"], &["end"]);
        self.set("event.reason", "the kernel killed it for want of memory");
        self.set("process.pid", kill.victim_pid);
        self.set_some("process.name", kill.victim_comm.as_deref());
    }

    fn container_end(&mut self, record: &AuditRecord, end: &ContainerEnd) {
        self.kind("event", &["process"], &["end"]);
        self.set("event.end", precise(record.time_unix_ns));
        if let Some(started) = end.started_unix_ns {
            self.set("event.start", precise(started));
            self.set_some("event.duration", record.time_unix_ns.checked_sub(started));
        }
    }
}

fn event_outcome(request: &Map<String, Value>) -> &'static str {
    match status(request) {
        StatusId::Success => "success",
        StatusId::Failure => "failure",
        StatusId::Unknown | StatusId::Other => "unknown",
    }
}
