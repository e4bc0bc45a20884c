//! Audit events in ArcSight's Common Event Format, version 0 ("Implementing ArcSight Common Event Format"): a line of
//! text for whoever reads nothing else.
//!
//! ```text
//!  CEF:0|Vendor|Product|Version|Signature|Name|Severity|key=value key=value
//! ```
//!
//! A mapping with losses: it has six strings and three numbers of one's own, and no place for the rest. Pure.

use plimsoll_wire::AuditEvent;
use plimsoll_wire::event::AgentState;

use crate::api::AuditRecord;
use crate::ocsf::event::imds::{code, endpoint, url};
use crate::ocsf::event::{severity, subject, text};
use crate::ocsf::types::SeverityId;

/// An extension under way.
struct Extension(String);

/// The line of a record, without its end, as the collector of that version writes it.
pub fn line(record: &AuditRecord, version: &str) -> String {
    let grade = match severity(&record.event) {
        SeverityId::Unknown | SeverityId::Other => 0,
        SeverityId::Informational => 1,
        SeverityId::Low => 3,
        SeverityId::Medium => 6,
        SeverityId::High => 8,
        SeverityId::Critical | SeverityId::Fatal => 10,
    };
    let fields = [
        "Plimsoll",
        "Plimsoll",
        version,
        record.event.name(),
        name(record),
    ];
    let mut line = String::from("CEF:0|");
    for field in fields {
        escape(&mut line, field, &['|']);
        line.push('|');
    }
    line + &format!("{grade}|") + &extension(record)
}

/// What it is, for people.
const fn name(record: &AuditRecord) -> &'static str {
    match &record.event {
        AuditEvent::Imds(_) => "Request to a metadata or credential endpoint",
        AuditEvent::OomKill(_) => "Process killed for want of memory",
        AuditEvent::ContainerEnd(_) => "Container ended",
        AuditEvent::Loss(_) => "Records lost",
        AuditEvent::Misplaced(_) => "Node speaks of pods that are not on it",
        AuditEvent::Agent(notice) => match notice.state {
            AgentState::Silent => "Agent is silent",
            AgentState::Back => "Agent is heard again",
            AgentState::Left => "Silent agent's node is gone",
            AgentState::Rewound => "Agent's numbers go back",
        },
        AuditEvent::Heartbeat(_) => "Agent lives",
    }
}

fn extension(record: &AuditRecord) -> String {
    let mut out = Extension(String::new());
    let names = &record.names;
    out.put("rt", &(record.time_unix_ns / 1_000_000).to_string());
    out.put("externalId", &record.id.to_string());
    out.put("dvchost", &record.id.node);
    out.labelled("cs1", "namespace", text(names, "namespace"));
    out.labelled("cs2", "pod", text(names, "pod"));
    out.labelled("cs3", "container", text(names, "container"));
    let (kind, workload) = (text(names, "workload_kind"), text(names, "workload_name"));
    let workload = kind
        .zip(workload)
        .map(|(kind, name)| format!("{kind}/{name}"));
    out.labelled("cs4", "workload", workload.as_deref());
    match &record.event {
        AuditEvent::Imds(access) => {
            let request = &access.request;
            let (src, dst) = (endpoint(request, "src"), endpoint(request, "dst"));
            out.some("src", src.ip.as_deref());
            out.some("spt", src.port.map(|port| port.to_string()).as_deref());
            out.some("dst", dst.ip.as_deref());
            out.some("dpt", dst.port.map(|port| port.to_string()).as_deref());
            out.put("proto", "TCP");
            out.some("requestMethod", text(request, "method"));
            out.some(
                "request",
                url(request).and_then(|url| url.url_string).as_deref(),
            );
            out.some("requestClientApplication", text(request, "user_agent"));
            out.some("outcome", text(request, "outcome"));
            out.labelled("cs5", "class", text(request, "class"));
            out.labelled("cs6", "imdsVersion", text(request, "imds_version"));
            let status = code(request).map(|status| status.to_string());
            out.labelled("cn1", "status", status.as_deref());
            if let Some(process) = &access.process {
                out.put("spid", &process.pid.to_string());
                out.some("sproc", process.exe.as_deref().or(process.comm.as_deref()));
                out.some("suid", process.uid.map(|uid| uid.to_string()).as_deref());
            }
        }
        AuditEvent::OomKill(kill) => {
            out.put("dpid", &kill.victim_pid.to_string());
            out.some("dproc", kill.victim_comm.as_deref());
        }
        AuditEvent::ContainerEnd(end) => {
            let started = end.started_unix_ns.map(|ns| (ns / 1_000_000).to_string());
            out.some("start", started.as_deref());
            out.put("end", &(record.time_unix_ns / 1_000_000).to_string());
        }
        AuditEvent::Loss(loss) => {
            out.put("cnt", &loss.count.to_string());
            out.put("reason", &loss.fate);
            out.labelled("cs5", "class", Some(loss.lost_class.as_str()));
            out.labelled("cs6", "stage", Some(&loss.stage));
        }
        AuditEvent::Misplaced(misplaced) => {
            out.put("shost", &misplaced.sender);
            out.put("dhost", &misplaced.pod_node);
            out.put("cnt", &misplaced.count.to_string());
        }
        AuditEvent::Agent(notice) => {
            out.put("shost", &notice.agent_node);
            out.put("reason", notice.state.as_str());
            let heard = notice.heard_unix_ns / 1_000_000;
            out.put("start", &heard.to_string());
            let last = notice.last_seq.to_string();
            out.labelled("cs5", "lastNumber", Some(&last));
        }
        AuditEvent::Heartbeat(heartbeat) => {
            out.put("deviceProcessName", "plimsoll-agent");
            out.labelled("cs5", "agentVersion", Some(&heartbeat.version));
        }
    }
    out.put("msg", &subject(record));
    out.0
}

impl Extension {
    fn put(&mut self, key: &str, value: &str) {
        if !self.0.is_empty() {
            self.0.push(' ');
        }
        self.0.push_str(key);
        self.0.push('=');
        escape(&mut self.0, value, &['=']);
    }

    fn some(&mut self, key: &str, value: Option<&str>) {
        if let Some(value) = value {
            self.put(key, value);
        }
    }

    /// A value in a place for values of one's own, with what it is.
    fn labelled(&mut self, key: &str, label: &str, value: Option<&str>) {
        if let Some(value) = value {
            self.put(key, value);
            self.put(&format!("{key}Label"), label);
        }
    }
}

/// A backslash before itself and before these; line ends as two characters, for an event is one line.
fn escape(out: &mut String, text: &str, special: &[char]) {
    for c in text.chars() {
        match c {
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\\' => out.push_str("\\\\"),
            c if special.contains(&c) => out.extend(['\\', c]),
            c => out.push(c),
        }
    }
}
