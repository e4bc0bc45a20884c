//! Requests to metadata and credential endpoints.

use std::net::IpAddr;

use plimsoll_wire::event::ImdsAccess;
use serde_json::{Map, Value, json};

use super::super::types::{
    Actor, Api, ApiActivity, ApiActivityId, Common, DirectionId, File, FileTypeId, HttpActivity,
    HttpActivityId, HttpRequest, HttpResponse, NetworkActivity, NetworkActivityId,
    NetworkConnectionInfo, NetworkEndpoint, ObservableTypeId, Process, ProtocolVerId,
    ResourceDetails, Service, SeverityId, StatusId, Url, User,
};
use super::{Event, container, subject, text};
use crate::api::AuditRecord;

/// Flags of a request that its sender has for no honest reason.
const SUSPICIOUS: [&str; 8] = [
    "absolute_form",
    "bad_host",
    "malformed_token",
    "method_anomaly",
    "obfuscated",
    "proxied",
    "traversal",
    "wrong_version_path",
];

/// A request, with what is asked of each class that it may be told in.
struct Told<'a> {
    request: &'a Map<String, Value>,
    actor: Actor,
    dst_endpoint: Option<NetworkEndpoint>,
    http_request: Option<HttpRequest>,
    http_response: Option<HttpResponse>,
    src_endpoint: NetworkEndpoint,
    status_code: Option<String>,
    status_detail: Option<String>,
    status_id: Option<StatusId>,
}

/// Credentials that came back are an API's activity; what is no HTTP is the network's.
pub(super) fn event(record: &AuditRecord, access: &ImdsAccess, mut common: Common) -> Event {
    let request = &access.request;
    let of = |key: &str| text(request, key).unwrap_or_default();
    let (class, outcome) = (of("class"), of("outcome"));
    let told = Told {
        request,
        actor: actor(record, access),
        dst_endpoint: destination(request),
        http_request: http_request(request),
        http_response: http_response(request),
        src_endpoint: source(record, access),
        status_code: code(request).map(|status| status.to_string()),
        status_detail: Some(outcome.to_owned()).filter(|outcome| !outcome.is_empty()),
        status_id: Some(status(request)),
    };
    common.message = Some(format!(
        "{}: {} {class} {outcome}",
        subject(record),
        of("endpoint")
    ));
    common.metadata.correlation_uid = text(request, "request_id").map(str::to_owned);
    observe(&mut common, access, &told);
    keep_the_rest(&mut common, access);
    if has_credentials(request) {
        told.into_credentials(common)
    } else if told.http_request.is_none() && told.http_response.is_none() {
        told.into_traffic(common)
    } else {
        told.into_request(common)
    }
}

fn observe(common: &mut Common, access: &ImdsAccess, told: &Told<'_>) {
    let ip = told.src_endpoint.ip.as_deref();
    common.observe("src_endpoint.ip", ObservableTypeId::IpAddress, ip);
    let container = access.identity.container_id();
    let name = "src_endpoint.container.uid";
    common.observe(name, ObservableTypeId::ResourceUid, container);
    let request = told.http_request.as_ref();
    let user_agent = request.and_then(|request| request.user_agent.as_deref());
    let name = "http_request.user_agent";
    common.observe(name, ObservableTypeId::HttpUserAgent, user_agent);
}

/// What has no place in OCSF, with what has one: the request is the node's word, and stays whole.
fn keep_the_rest(common: &mut Common, access: &ImdsAccess) {
    common.put("imds", access.request.clone());
    let process = access.process.as_ref();
    if let Some(missing) = process.and_then(|process| process.missing.clone()) {
        common.put("process_missing", missing);
    }
    if let Some(task) = &access.task_identity {
        common.put("task_identity", json!(task));
    }
}

impl Told<'_> {
    fn into_credentials(self, common: Common) -> Event {
        let role = text(self.request, "role");
        let role = role.map(|role| ResourceDetails {
            name: Some(role.to_owned()),
            r#type: Some("IAM role".to_owned()),
        });
        let service = text(self.request, "endpoint").map(str::to_owned);
        Event::Api(Box::new(ApiActivity {
            common,
            activity_id: ApiActivityId::Read,
            actor: self.actor,
            api: Api {
                operation: "GetCredentials".to_owned(),
                service: service.map(|name| Service { name: Some(name) }),
                version: version(self.request).map(str::to_owned),
            },
            dst_endpoint: self.dst_endpoint,
            http_request: self.http_request,
            http_response: self.http_response,
            resources: role.into_iter().collect(),
            src_endpoint: self.src_endpoint,
            status_code: self.status_code,
            status_detail: self.status_detail,
            status_id: self.status_id,
        }))
    }

    fn into_traffic(self, common: Common) -> Event {
        Event::Network(Box::new(NetworkActivity {
            common,
            activity_id: NetworkActivityId::Traffic,
            actor: Some(self.actor),
            connection_info: Some(connection(self.request)),
            dst_endpoint: self.dst_endpoint,
            src_endpoint: Some(self.src_endpoint),
            status_detail: self.status_detail,
            status_id: self.status_id,
        }))
    }

    fn into_request(self, mut common: Common) -> Event {
        let sent = text(self.request, "method");
        let (activity_id, activity_name) = match (sent, sent.and_then(method)) {
            (_, Some((known, _))) => (known, None),
            (Some(other), None) => (HttpActivityId::Other, Some(other.to_owned())),
            (None, None) => (HttpActivityId::Unknown, None),
        };
        common.activity_name = activity_name;
        Event::Http(Box::new(HttpActivity {
            common,
            activity_id,
            actor: Some(self.actor),
            connection_info: Some(connection(self.request)),
            dst_endpoint: self.dst_endpoint,
            http_request: self.http_request,
            http_response: self.http_response,
            src_endpoint: Some(self.src_endpoint),
            status_code: self.status_code,
            status_detail: self.status_detail,
            status_id: self.status_id,
        }))
    }
}

/// One end of a connection, as far as it is one.
pub(crate) fn endpoint(request: &Map<String, Value>, key: &str) -> NetworkEndpoint {
    let of = request.get(key).and_then(Value::as_object);
    let ip = of.and_then(|of| text(of, "ip"));
    let port = of.and_then(|of| number(of, "port"));
    NetworkEndpoint {
        ip: ip
            .filter(|ip| ip.parse::<IpAddr>().is_ok())
            .map(str::to_owned),
        port: port.filter(|port| u16::try_from(*port).is_ok()),
        ..NetworkEndpoint::default()
    }
}

/// The answer's status, if it is one of HTTP.
pub(crate) fn code(request: &Map<String, Value>) -> Option<i64> {
    number(request, "status").filter(|code| (100..1000).contains(code))
}

/// Credentials were in the answer: not in one to HEAD, nor in a redirection.
pub(crate) fn has_credentials(request: &Map<String, Value>) -> bool {
    let is = |key: &str, value: &str| text(request, key) == Some(value);
    let is_success = code(request).is_some_and(|code| code < 300);
    is("class", "CRED") && is("outcome", "ok") && !is("method", "HEAD") && is_success
}

/// Which of the two versions of IMDS it speaks, where that is known.
fn version(request: &Map<String, Value>) -> Option<&str> {
    text(request, "imds_version").filter(|version| ["v1", "v2"].contains(version))
}

/// The service that was asked.
fn destination(request: &Map<String, Value>) -> Option<NetworkEndpoint> {
    let service = text(request, "endpoint").filter(|name| !name.is_empty());
    let of = NetworkEndpoint {
        svc_name: service.map(str::to_owned),
        ..endpoint(request, "dst")
    };
    // An endpoint has a name or an address.
    (of.ip.is_some() || of.svc_name.is_some()).then_some(of)
}

/// Whose socket it was.
fn source(record: &AuditRecord, access: &ImdsAccess) -> NetworkEndpoint {
    let names = &record.names;
    let service = text(names, "namespace").zip(text(names, "workload_name"));
    NetworkEndpoint {
        name: Some(text(names, "pod").map_or_else(|| subject(record), str::to_owned)),
        uid: access.identity.pod_uid().map(str::to_owned),
        svc_name: service.map(|(namespace, workload)| format!("{namespace}/{workload}")),
        container: container(&access.identity, names),
        ..endpoint(&access.request, "src")
    }
}

fn actor(record: &AuditRecord, access: &ImdsAccess) -> Actor {
    let process = access.process.as_ref().map(|process| Process {
        pid: Some(process.pid.into()),
        name: process.comm.clone(),
        cmd_line: process.cmdline.clone(),
        file: process.exe.as_ref().map(|exe| File {
            name: exe.rsplit('/').next().unwrap_or_default().to_owned(),
            path: Some(exe.clone()),
            type_id: FileTypeId::RegularFile,
        }),
        user: process.uid.map(|uid| User {
            uid: Some(uid.to_string()),
        }),
        container: None,
    });
    Actor {
        app_name: Some(subject(record)),
        process,
    }
}

fn connection(request: &Map<String, Value>) -> NetworkConnectionInfo {
    let ip = endpoint(request, "dst").ip;
    let version = match ip.and_then(|ip| ip.parse().ok()) {
        Some(IpAddr::V4(_)) => Some(ProtocolVerId::InternetProtocolVersion4Ipv4),
        Some(IpAddr::V6(_)) => Some(ProtocolVerId::InternetProtocolVersion6Ipv6),
        None => None,
    };
    NetworkConnectionInfo {
        direction_id: DirectionId::Outbound,
        protocol_name: Some("tcp".to_owned()),
        protocol_num: Some(6),
        protocol_ver_id: version,
    }
}

/// What was asked for.
pub(crate) fn url(request: &Map<String, Value>) -> Option<Url> {
    let path = text(request, "path")?;
    let dst = endpoint(request, "dst");
    let host = dst.ip.clone().map(|ip| match ip.parse() {
        Ok(IpAddr::V6(ip)) => format!("[{ip}]"),
        _ => ip,
    });
    Some(Url {
        path: Some(path.to_owned()),
        scheme: Some("http".to_owned()),
        url_string: host.map(|host| match dst.port {
            Some(80) | None => format!("http://{host}{path}"),
            Some(port) => format!("http://{host}:{port}{path}"),
        }),
        hostname: dst.ip,
        port: dst.port,
    })
}

fn http_request(request: &Map<String, Value>) -> Option<HttpRequest> {
    let url = url(request);
    let method = text(request, "method").and_then(method);
    let user_agent = text(request, "user_agent").map(str::to_owned);
    let is_any = url.is_some() || method.is_some() || user_agent.is_some();
    is_any.then(|| HttpRequest {
        http_method: method.map(|(_, name)| name.to_owned()),
        url,
        user_agent,
    })
}

/// A method, by its activity and as OCSF spells it; `None` for another one.
fn method(name: &str) -> Option<(HttpActivityId, &'static str)> {
    Some(match name {
        "CONNECT" => (HttpActivityId::Connect, "CONNECT"),
        "DELETE" => (HttpActivityId::Delete, "DELETE"),
        "GET" => (HttpActivityId::Get, "GET"),
        "HEAD" => (HttpActivityId::Head, "HEAD"),
        "OPTIONS" => (HttpActivityId::Options, "OPTIONS"),
        "PATCH" => (HttpActivityId::Patch, "PATCH"),
        "POST" => (HttpActivityId::Post, "POST"),
        "PUT" => (HttpActivityId::Put, "PUT"),
        "TRACE" => (HttpActivityId::Trace, "TRACE"),
        _ => return None,
    })
}

fn http_response(request: &Map<String, Value>) -> Option<HttpResponse> {
    let small = |number: i64| i32::try_from(number).ok().map(i64::from);
    let latency = number(request, "latency_ns").and_then(|ns| small(ns / 1_000_000));
    Some(HttpResponse {
        code: code(request)?,
        body_length: number(request, "response_bytes").and_then(small),
        latency,
    })
}

/// Whether it came off, where that is known. That nobody answered is no evidence of a wall.
pub(crate) fn status(request: &Map<String, Value>) -> StatusId {
    let is_suspected = text(request, "evidence") == Some("silence");
    match text(request, "outcome").unwrap_or_default() {
        "ok" => StatusId::Success,
        "hop_limit_blocked" if is_suspected => StatusId::Unknown,
        "auth_failed" | "denied" | "not_found" | "error" | "hop_limit_blocked" => StatusId::Failure,
        _ => StatusId::Unknown,
    }
}

pub(super) fn severity(request: &Map<String, Value>) -> SeverityId {
    let is = |key: &str, value: &str| text(request, key) == Some(value);
    let flags = request.get("flags").and_then(Value::as_array);
    let mut flags = flags.into_iter().flatten().filter_map(Value::as_str);
    let has_credentials = has_credentials(request);
    // What could not be read of a head is not known to be the second version.
    let may_be_v1 = is("endpoint", "imds") && !is("imds_version", "v2");
    if has_credentials && may_be_v1 {
        SeverityId::High
    } else if flags.any(|flag| SUSPICIOUS.contains(&flag)) || is("outcome", "hop_limit_blocked") {
        SeverityId::Medium
    } else if has_credentials || is("class", "SECRET_CFG") || is("class", "IDENTITY_PROOF") {
        SeverityId::Low
    } else {
        SeverityId::Informational
    }
}

pub(crate) fn number(of: &Map<String, Value>, key: &str) -> Option<i64> {
    of.get(key).and_then(Value::as_i64)
}
