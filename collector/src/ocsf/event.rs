//! What each of our events is in OCSF (docs/events.md, *OCSF*).
//!
//! Nothing that an event says is left out: what OCSF has no place for is in `unmapped`, under the names it has with
//! us. Nothing is made up: what is not known is absent.

pub(crate) mod imds;
pub mod trail;

use plimsoll_wire::event::{
    AgentNotice, AgentState, ContainerEnd, Heartbeat, Loss, Misplaced, OomKill,
};
use plimsoll_wire::identity::Subject;
use plimsoll_wire::{AuditEvent, Class, Identity};
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::schema::Schema;
use super::types::{
    Actor, ApiActivity, ApplicationError, ApplicationErrorActivityId, ApplicationLifecycle,
    ApplicationLifecycleActivityId, Common, Container, DetectionFinding,
    DetectionFindingActivityId, Device, Feature, FindingInfo, HttpActivity, Metadata,
    NetworkActivity, Observable, ObservableTypeId, Process, ProcessActivity, ProcessActivityId,
    Product, SeverityId,
};
use crate::api::{AuditRecord, precise};

/// Largest number of which a double knows each digit, 2^53 - 1.
const MAX_EXACT: u64 = (1 << 53) - 1;
/// Who wrote the event.
const PRODUCT: &str = "Plimsoll";
/// The pod's orchestrator: that of which the cgroups tell.
const ORCHESTRATOR: &str = "Kubernetes";
/// An event of one of the classes that we have.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Event {
    /// Credentials came back.
    Api(Box<ApiActivity>),
    /// Records were lost.
    Error(Box<ApplicationError>),
    /// A container ended, or an agent lives.
    Lifecycle(Box<ApplicationLifecycle>),
    /// A node spoke of another one's pods.
    Finding(Box<DetectionFinding>),
    /// A request to a metadata or credential endpoint.
    Http(Box<HttpActivity>),
    /// What was sent there and is no HTTP.
    Network(Box<NetworkActivity>),
    /// The kernel killed a process.
    Process(Box<ProcessActivity>),
}

/// The event of a record, as the collector of that version writes it.
pub fn of(record: &AuditRecord, version: &str) -> Event {
    let common = Common::of(record, version);
    match &record.event {
        AuditEvent::Imds(access) => imds::event(record, access, common),
        AuditEvent::OomKill(kill) => oom_kill(record, kill, common),
        AuditEvent::ContainerEnd(end) => container_end(record, end, common),
        AuditEvent::Loss(loss) => lost(loss, common),
        AuditEvent::Misplaced(misplaced) => finding(record, misplaced, common),
        AuditEvent::Agent(notice) => noticed(record, notice, common),
        AuditEvent::Heartbeat(heartbeat) => alive(heartbeat, common),
    }
}

/// How grave an event is (docs/events.md).
pub(crate) fn severity(event: &AuditEvent) -> SeverityId {
    match event {
        AuditEvent::Imds(access) => imds::severity(&access.request),
        AuditEvent::OomKill(_) => SeverityId::Medium,
        AuditEvent::Misplaced(_) => SeverityId::High,
        AuditEvent::Agent(notice) => match notice.state {
            AgentState::Silent | AgentState::Rewound => SeverityId::High,
            AgentState::Back | AgentState::Left => SeverityId::Informational,
        },
        AuditEvent::Loss(loss) => match loss.lost_class {
            Class::Security => SeverityId::High,
            Class::Usage => SeverityId::Low,
        },
        AuditEvent::ContainerEnd(_) | AuditEvent::Heartbeat(_) => SeverityId::Informational,
    }
}

impl Common {
    fn of(record: &AuditRecord, version: &str) -> Self {
        let node = record.id.node.as_str();
        let mut unmapped = Map::new();
        let mut kubernetes = record.names.clone();
        kubernetes.insert("node".to_owned(), node.into());
        unmapped.insert("kubernetes".to_owned(), kubernetes.into());
        let mut profiles = vec!["host".to_owned()];
        if let Some(identity) = record.identity() {
            if container(identity, &record.names).is_some() {
                profiles.insert(0, "container".to_owned());
            }
            unmapped.insert("identity".to_owned(), exact(json!(identity)));
        }
        Self {
            device: Some(device(node)),
            metadata: Metadata {
                version: Schema::v1_8().version.clone(),
                product: Product {
                    name: Some(PRODUCT.to_owned()),
                    vendor_name: Some(PRODUCT.to_owned()),
                    version: Some(version.to_owned()),
                    ..Product::default()
                },
                uid: Some(record.id.to_string()),
                // Of OCSF's type are numbers of 32 bits; the whole one is in the id.
                sequence: i32::try_from(record.id.seq).ok().map(i64::from),
                profiles,
                log_name: Some(record.event.name().to_owned()),
                original_time: Some(precise(record.time_unix_ns)),
                ..Metadata::default()
            },
            severity_id: severity(&record.event),
            time: millis(record.time_unix_ns),
            unmapped: Some(unmapped),
            ..Self::default()
        }
    }

    fn put(&mut self, name: &str, of: impl Into<Value>) {
        let unmapped = self.unmapped.get_or_insert_default();
        unmapped.insert(name.to_owned(), exact(of.into()));
    }

    /// Something to look for in other events.
    fn observe(&mut self, name: &str, type_id: ObservableTypeId, value: Option<&str>) {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            self.observables.push(Observable {
                name: Some(name.to_owned()),
                type_id,
                value: Some(value.to_owned()),
            });
        }
    }
}

/// With numbers that every reader of JSON reads alike, and whose canonical form is theirs (RFC 8785, section 3.2.2.3
/// and appendix D): what has a fraction, or more digits than a double holds, is a text; and always so is what may
/// have them, for a field is of one type.
fn exact(value: Value) -> Value {
    match value {
        Value::Number(number) => {
            let is_exact = number
                .as_i64()
                .is_some_and(|it| it.unsigned_abs() <= MAX_EXACT);
            if is_exact {
                Value::Number(number)
            } else {
                Value::String(number.to_string())
            }
        }
        Value::Array(values) => values.into_iter().map(exact).collect(),
        Value::Object(members) => {
            let members = members.into_iter().map(|(name, value)| {
                let is_long = name == "cgroup_id" || name.ends_with("_ns");
                let value = match value {
                    Value::Number(number) if is_long => Value::String(number.to_string()),
                    other => exact(other),
                };
                (name, value)
            });
            Value::Object(members.collect())
        }
        other => other,
    }
}

/// OCSF's time, milliseconds since 1970.
fn millis(unix_ns: u64) -> i64 {
    i64::try_from(unix_ns / 1_000_000).unwrap_or(i64::MAX)
}

/// A node. Whether it is a machine of its own nobody says.
fn device(node: &str) -> Device {
    Device {
        hostname: Some(node.to_owned()),
        name: Some(node.to_owned()),
        ..Device::default()
    }
}

fn container(identity: &Identity, names: &Map<String, Value>) -> Option<Container> {
    let Subject::Container {
        pod_uid,
        container_id,
        runtime,
        ..
    } = &identity.subject
    else {
        return None;
    };
    // That of a static pod is none, but the hash of its manifest.
    let groups = pod_uid.split('-').map(|group| {
        let is_hex = group.bytes().all(|byte| byte.is_ascii_hexdigit());
        is_hex.then_some(group.len())
    });
    let is_uuid = groups.eq([8, 4, 4, 4, 12].map(Some));
    Some(Container {
        uid: Some(container_id.clone()),
        name: text(names, "container").map(str::to_owned),
        orchestrator: Some(ORCHESTRATOR.to_owned()),
        pod_uuid: Some(pod_uid.clone()).filter(|_| is_uuid),
        runtime: runtime.clone(),
    })
}

pub(crate) fn text<'a>(of: &'a Map<String, Value>, key: &str) -> Option<&'a str> {
    of.get(key).and_then(Value::as_str)
}

/// Who it is about, in one text.
pub(crate) fn subject(record: &AuditRecord) -> String {
    let subject = text(&record.names, "subject");
    subject.unwrap_or(&record.id.node).to_owned()
}

fn oom_kill(record: &AuditRecord, kill: &OomKill, mut common: Common) -> Event {
    let subject = subject(record);
    let victim = if kill.identity_is_trigger {
        // Whose the process was is not known, only who asked for memory.
        common.message = Some(format!(
            "{subject} asked for memory, and the kernel killed a process"
        ));
        None
    } else {
        common.message = Some(format!("{subject}: killed for want of memory"));
        let id = kill.identity.container_id();
        common.observe("process.container.uid", ObservableTypeId::ResourceUid, id);
        container(&kill.identity, &record.names)
    };
    common.put("oom", without_identity(json!(kill)));
    Event::Process(Box::new(ProcessActivity {
        common,
        activity_id: ProcessActivityId::Terminate,
        actor: Actor {
            app_name: Some("kernel".to_owned()),
            process: None,
        },
        process: Process {
            pid: Some(kill.victim_pid.into()),
            name: kill.victim_comm.clone(),
            container: victim,
            ..Process::default()
        },
    }))
}

/// What an event says besides whose it is.
fn without_identity(mut event: Value) -> Value {
    if let Some(members) = event.as_object_mut() {
        members.remove("identity");
    }
    event
}

fn container_end(record: &AuditRecord, end: &ContainerEnd, mut common: Common) -> Event {
    common.message = Some(format!("{}: ended", subject(record)));
    let container_id = end.identity.container_id();
    common.observe("app.uid", ObservableTypeId::ResourceUid, container_id);
    common.put("container_end", without_identity(json!(end)));
    let end_time = common.time;
    // A clock that was set back in between tells nothing of its start.
    let start_time = end
        .started_unix_ns
        .map(millis)
        .filter(|start| *start <= end_time);
    common.duration = start_time.map(|start| end_time - start);
    common.end_time = Some(end_time);
    common.start_time = start_time;
    Event::Lifecycle(Box::new(ApplicationLifecycle {
        common,
        activity_id: ApplicationLifecycleActivityId::Stop,
        app: Product {
            name: Some(subject(record)),
            uid: container_id.map(str::to_owned),
            ..Product::default()
        },
    }))
}

fn lost(loss: &Loss, mut common: Common) -> Event {
    common.message = Some(format!(
        "{} {} records {} at {}",
        loss.count,
        loss.lost_class.as_str(),
        loss.fate,
        loss.stage
    ));
    common.put("loss", json!(loss));
    common.count = i32::try_from(loss.count).ok().map(i64::from);
    Event::Error(Box::new(ApplicationError {
        common,
        activity_id: ApplicationErrorActivityId::GeneralError,
    }))
}

fn finding(record: &AuditRecord, misplaced: &Misplaced, mut common: Common) -> Event {
    common.message = Some(format!(
        "node {} sent {} records about pods on other nodes, the first {} on {}",
        misplaced.sender, misplaced.count, misplaced.pod_uid, misplaced.pod_node
    ));
    common.put("misplaced", json!(misplaced));
    let title = "A node speaks of pods that are not on it";
    common.count = i32::try_from(misplaced.count).ok().map(i64::from);
    Event::Finding(Box::new(DetectionFinding {
        common,
        activity_id: DetectionFindingActivityId::Create,
        finding_info: FindingInfo {
            title: Some(title.to_owned()),
            types: vec![record.event.name().to_owned()],
            uid: record.id.to_string(),
        },
    }))
}

/// A silence is one finding: opened when it is noticed, and closed when it is over.
fn noticed(record: &AuditRecord, notice: &AgentNotice, mut common: Common) -> Event {
    let node = &notice.agent_node;
    let (activity_id, title, message) = match notice.state {
        AgentState::Silent => (
            DetectionFindingActivityId::Create,
            "An agent is silent",
            format!(
                "the agent of node {node} is silent: not heard for {} s",
                notice.silent_s.unwrap_or_default()
            ),
        ),
        AgentState::Back => (
            DetectionFindingActivityId::Close,
            "An agent is silent",
            format!(
                "the agent of node {node} is heard again, after {} s",
                notice.silent_s.unwrap_or_default()
            ),
        ),
        AgentState::Left => (
            DetectionFindingActivityId::Close,
            "An agent is silent",
            format!("the node {node}, whose agent was silent, is there no more"),
        ),
        AgentState::Rewound => (
            DetectionFindingActivityId::Create,
            "An agent's numbers go back",
            format!(
                "the agent of node {node} sends numbers that it sent before: {} after {}",
                notice.seq.unwrap_or_default(),
                notice.last_seq
            ),
        ),
    };
    let uid = match notice.state {
        AgentState::Rewound => record.id.to_string(),
        _ => format!("agent-silent/{node}/{}", notice.heard_unix_ns),
    };
    common.message = Some(message);
    common.put("agent", json!(notice));
    Event::Finding(Box::new(DetectionFinding {
        common,
        activity_id,
        finding_info: FindingInfo {
            title: Some(title.to_owned()),
            types: vec![record.event.name().to_owned()],
            uid,
        },
    }))
}

fn alive(heartbeat: &Heartbeat, mut common: Common) -> Event {
    common.message = Some(format!("agent {} lives", heartbeat.version));
    common.put("heartbeat", json!(heartbeat));
    common.activity_name = Some("Heartbeat".to_owned());
    Event::Lifecycle(Box::new(ApplicationLifecycle {
        common,
        activity_id: ApplicationLifecycleActivityId::Other,
        app: Product {
            name: Some(PRODUCT.to_owned()),
            vendor_name: Some(PRODUCT.to_owned()),
            feature: Some(Feature {
                name: Some("agent".to_owned()),
            }),
            version: Some(heartbeat.version.clone()),
            ..Product::default()
        },
    }))
}
