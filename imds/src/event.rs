//! One request with its answer, as agent and command line print it.
//!
//! The names are a promise (`docs/events.md`): they may grow, they lose none. Time is kept as a
//! number here; the edge that prints it adds RFC 3339.

use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

use crate::{ConnKey, Endpoint, Flags};

/// An end of the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Addr {
    /// Address as on the wire.
    pub ip: IpAddr,
    /// TCP port.
    pub port: u16,
}

impl From<SocketAddr> for Addr {
    fn from(end: SocketAddr) -> Self {
        Self {
            ip: end.ip(),
            port: end.port(),
        }
    }
}

/// Which generation of IMDS the request speaks. IMDS decides it for each request, by the presence
/// of one of the two headers that only version 2 has (EC2 user guide, "Configure IMDS").
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Version {
    /// Neither header is there.
    V1,
    /// A session token, or the TTL of one that is asked for.
    V2,
    /// Not all of the head was seen.
    Unknown,
    /// The endpoint has no versions.
    None,
}

/// What a path gives away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Class {
    /// Credentials.
    Cred,
    /// The names of roles that have credentials.
    CredList,
    /// A session token.
    Token,
    /// User data and SSH keys: configuration that often holds secrets.
    SecretCfg,
    /// A signed document that proves to be this instance.
    IdentityProof,
    /// SSH public keys.
    Keys,
    /// Instance tags.
    Tags,
    /// Addresses, interfaces, security groups.
    Network,
    /// Where and what the instance is.
    Topology,
    /// Notices of interruption and maintenance.
    Lifecycle,
    /// A listing of the top levels.
    RootEnum,
    /// Anything else.
    Unknown,
}

/// Payload that is not HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Opaque {
    /// A TLS record.
    Tls,
    /// HTTP/2 with prior knowledge.
    H2,
    /// Something else that is not text.
    Binary,
}

/// What became of the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Status below 400.
    Ok,
    /// 401: token missing, wrong or expired.
    AuthFailed,
    /// 403: switched off, or not allowed.
    Denied,
    /// 404.
    NotFound,
    /// Any other status from 400 on.
    Error,
    /// Bytes came back, but no readable status line.
    Unreadable,
    /// Nothing came back in time. What comes later is an event of its own,
    /// [`Flags::LATE_ANSWER`].
    NoResponse,
    /// A token was asked for and its answer did not reach the client; see [`Evidence`].
    HopLimitBlocked,
}

/// Why we say [`Outcome::HopLimitBlocked`]. Only the answer to a token request carries the
/// configured hop limit, so the handshake works and other requests are answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Evidence {
    /// The answer was captured with hop limit 1 and the client never acknowledged it.
    ResponseHopLimit,
    /// Silence, while another request of the same address was answered after this one was sent.
    OtherRequestAnswered,
    /// Only silence after a complete handshake: a suspicion.
    Silence,
}

/// Claims of a Pod Identity token, as the caller presents them: not verified.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodIdentity {
    /// Claim `kubernetes.io.namespace`.
    pub namespace: Option<String>,
    /// Claim `kubernetes.io.pod.name`.
    pub pod_name: Option<String>,
    /// Claim `kubernetes.io.pod.uid`: to be compared with the pod that owns the socket.
    pub pod_uid: Option<String>,
    /// Claim `kubernetes.io.serviceaccount.name`.
    pub service_account: Option<String>,
}

/// One request to a metadata or credential endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImdsEvent {
    /// The connection, in the caller's words.
    #[serde(skip, default = "no_key")]
    pub key: ConnKey,
    /// When the first byte of the request was captured, on the caller's clock; of the answer where
    /// the request is not known, or the answer late.
    #[serde(skip)]
    pub time_ns: u64,
    /// Which service was asked.
    pub endpoint: Endpoint,
    /// Who asked.
    pub src: Addr,
    /// Who was asked.
    pub dst: Addr,
    /// A method of RFC 9110, `OTHER`, or `None` where there was no request line.
    pub method: Option<String>,
    /// Normalised path, redacted.
    pub path: Option<String>,
    /// See [`Version`].
    pub imds_version: Version,
    /// See [`Class`].
    pub class: Class,
    /// Role whose credentials are asked for.
    pub role: Option<String>,
    /// HTTP status.
    pub status: Option<u16>,
    /// See [`Outcome`].
    pub outcome: Outcome,
    /// Remarks.
    pub flags: Flags,
    /// Keyed hash of the token or JWT presented, 16 hex digits.
    pub token_hash: Option<String>,
    /// Keyed hash of the session token that came back: pairs with a later `token_hash`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub minted_token_hash: Option<String>,
    /// Life asked for a session token, seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl_seconds: Option<u32>,
    /// Life that the answer gives the token, seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_ttl_seconds: Option<u32>,
    /// The target as sent, redacted, where it is not the path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub raw_target: Option<String>,
    /// Host asked for, redacted, where it is not the endpoint's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// User agent, redacted and cut.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_agent: Option<String>,
    /// Payload that is not HTTP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub opaque: Option<Opaque>,
    /// Why the request could not be read, or why nobody waited for its answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<std::borrow::Cow<'static, str>>,
    /// Name of a request that was given up, 16 hex digits: its own event and that of its late
    /// answer have the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// Why `hop_limit_blocked`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<Evidence>,
    /// `Content-Length` of the answer, bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response_bytes: Option<u64>,
    /// From the request's last byte to the answer's first, nanoseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency_ns: Option<u64>,
    /// Id (not secret) of the credentials that came back: pairs with CloudTrail.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access_key_id: Option<String>,
    /// When they expire, as the answer says it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expiration: Option<String>,
    /// Claims of the Pod Identity token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod_identity: Option<PodIdentity>,
}

const fn no_key() -> ConnKey {
    ConnKey::Cookie(0)
}
