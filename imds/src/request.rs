//! One request head becomes the first half of an event.

mod seen;
mod shown;

use std::borrow::Cow;
use std::net::SocketAddr;

use crate::classify::{classify, is_own_host};
use crate::http::{
    Cut, Framing, Head, METHODS, RequestLine, names_method, parse_request_line, walk_headers,
};
use crate::redact::{HOST_BYTES, USER_AGENT_BYTES};
use crate::target::{self, Target};
use crate::{Class, ConnKey, Endpoint, Flags, ImdsEvent, Opaque, Outcome, Redactor, Version};
pub(crate) use seen::{Lengths, TTL};
use seen::{Seen, TOKEN};
use shown::{show_path, show_raw};

/// Longest life of a session token, seconds (EC2 user guide).
const TTL_MAX_SECONDS: u32 = 21_600;
/// Shorter than any token ever issued (they have 56 characters).
const TOKEN_MIN_BYTES: usize = 8;
/// Longer than any token ever issued.
pub(crate) const TOKEN_MAX_BYTES: usize = 1024;
/// Bytes looked at to tell text from binary.
const SNIFF_BYTES: usize = 64;

/// Where the request was seen.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub(crate) key: ConnKey,
    pub(crate) client: SocketAddr,
    pub(crate) server: SocketAddr,
    pub(crate) endpoint: Endpoint,
    pub(crate) time_ns: u64,
}

impl Place {
    /// An event about which nothing is known yet.
    pub(crate) fn event(&self) -> ImdsEvent {
        let mut flags = Flags::NONE;
        flags.add_if(self.server.port() != 80, Flags::ODD_PORT);
        ImdsEvent {
            key: self.key,
            time_ns: self.time_ns,
            endpoint: self.endpoint,
            src: self.client.into(),
            dst: self.server.into(),
            method: None,
            path: None,
            imds_version: self.version(Version::Unknown),
            class: Class::Unknown,
            role: None,
            status: None,
            outcome: Outcome::NoResponse,
            flags,
            token_hash: None,
            minted_token_hash: None,
            ttl_seconds: None,
            token_ttl_seconds: None,
            raw_target: None,
            host: None,
            user_agent: None,
            opaque: None,
            reason: None,
            request_id: None,
            evidence: None,
            response_bytes: None,
            latency_ns: None,
            access_key_id: None,
            expiration: None,
            pod_identity: None,
        }
    }

    fn version(&self, version: Version) -> Version {
        if self.endpoint == Endpoint::Imds {
            version
        } else {
            Version::None
        }
    }
}

/// What follows from a request head.
pub(crate) struct Request {
    pub(crate) event: ImdsEvent,
    pub(crate) framing: Framing,
    /// HEAD: the answer has no body whatever its length says.
    pub(crate) is_head: bool,
}

/// Reads a head, whole or cut.
pub(crate) fn read(bytes: &[u8], cut: Cut, place: &Place, redactor: &Redactor) -> Request {
    let mut event = place.event();
    let head = Head::split(bytes);
    let line = head.first_line.and_then(parse_request_line);
    let Some(line) = line else {
        return unreadable(event, &head, cut);
    };
    // Without a version there are no headers to miss.
    let cut_off = cut != Cut::Whole && line.version.is_some();
    event.flags.add_if(cut_off, Flags::HEADER_TRUNCATED);
    match line.version {
        Some(version) if version.starts_with(b"HTTP/2") && line.method == b"PRI" => {
            event.opaque = Some(Opaque::H2);
            return Request {
                event,
                framing: Framing::Opaque,
                is_head: false,
            };
        }
        Some([b'H', b'T', b'T', b'P', b'/', b'1', b'.', minor]) if minor.is_ascii_digit() => {}
        Some(_) => {
            event.reason = Some(Cow::Borrowed("bad_http_version"));
            return refused(event, cut);
        }
        None => event.flags.add(Flags::HTTP09),
    }
    let mut seen = Seen::default();
    let odd = walk_headers(head.lines, |header| seen.take(&header));
    event
        .flags
        .add_if(odd.lf_only || head.first_lf_only, Flags::LF_ONLY);
    event
        .flags
        .add_if(odd.malformed || odd.folded, Flags::MALFORMED_HEADER);
    // A line that some server might still read as the token header.
    seen.doubtful_token |=
        (odd.malformed || odd.folded) && seen.tokens == 0 && names_token(head.lines);
    seen.cut = cut_off;
    if cut_off || odd.malformed || odd.folded {
        // The rest of a secret, or a whole one, may stand where we cannot read.
        seen.take_cut(head.cut_line);
        seen.secrets.cut();
    }
    let framing = seen.framing(cut, &mut event.flags);
    fill(&mut event, place, redactor, &line, &seen);
    Request {
        event,
        framing,
        is_head: line.method == b"HEAD",
    }
}

fn unreadable(mut event: ImdsEvent, head: &Head<'_>, cut: Cut) -> Request {
    let text = |byte: &u8| byte.is_ascii_graphic() || matches!(byte, b' ' | b'\t' | b'\r');
    let start = head.first_line.unwrap_or(head.cut_line);
    let start = start.get(..SNIFF_BYTES).unwrap_or(start);
    if start.iter().all(text) || names_method(start) {
        event
            .flags
            .add_if(cut != Cut::Whole, Flags::HEADER_TRUNCATED);
        event.reason = Some(Cow::Borrowed(if head.first_line.is_some() {
            "bad_request_line"
        } else {
            "no_request_line"
        }));
    } else {
        event.opaque = Some(Opaque::Binary);
    }
    refused(event, cut)
}

/// A head that says nothing about a body: the endpoint refuses it, and reads on behind its blank
/// line if at all.
fn refused(event: ImdsEvent, cut: Cut) -> Request {
    Request {
        event,
        framing: if cut == Cut::Whole {
            Framing::Length(0)
        } else {
            Framing::Lost
        },
        is_head: false,
    }
}

fn fill(
    event: &mut ImdsEvent,
    place: &Place,
    redactor: &Redactor,
    line: &RequestLine<'_>,
    seen: &Seen<'_>,
) {
    let target = target::parse(line.target);
    let path = classify(place.endpoint, &target.path);
    event.flags.add(target.flags);
    event.flags.add_if(line.is_odd, Flags::OBFUSCATED);
    event.class = path.class;
    event.imds_version = place.version(seen.version());
    let method = known_method(line.method);
    event.method = Some(method.to_owned());
    event
        .flags
        .add_if(path.dated_token_path, Flags::WRONG_VERSION_PATH);
    event.flags.add_if(
        is_odd_method(place.endpoint, method, path.class),
        Flags::METHOD_ANOMALY,
    );
    event.flags.add_if(seen.proxied, Flags::PROXIED);
    event.flags.add_if(seen.tokens > 1, Flags::DUPLICATE_TOKEN);
    token(event, place, redactor, seen);
    if place.endpoint == Endpoint::Imds && path.class == Class::Token && method == "PUT" {
        event.ttl_seconds = seen.ttl.and_then(parse_ttl);
        event
            .flags
            .add_if(event.ttl_seconds.is_none() || seen.ttls > 1, Flags::BAD_TTL);
    }
    host(event, place, redactor, &target, seen);
    event.user_agent = seen
        .user_agent
        .map(|text| redactor.text(text, &seen.secrets, USER_AGENT_BYTES));
    let shown = show_path(&target.path, &path, redactor, &seen.secrets);
    if path.role.is_some() && shown.is_whole {
        event.role = path.role.map(str::to_owned);
    }
    if target.query.is_some() || target.path.as_bytes() != target.raw_path {
        event.raw_target = Some(show_raw(&target, shown.is_whole, redactor, &seen.secrets));
    }
    event.path = Some(shown.text);
}

fn token(event: &mut ImdsEvent, place: &Place, redactor: &Redactor, seen: &Seen<'_>) {
    match place.endpoint {
        Endpoint::Imds => {
            let plausible = |token: &[u8]| {
                (TOKEN_MIN_BYTES..=TOKEN_MAX_BYTES).contains(&token.len())
                    && token.iter().all(u8::is_ascii_graphic)
            };
            let malformed =
                seen.doubtful_token || seen.token.is_some_and(|token| !plausible(token));
            event.flags.add_if(malformed, Flags::MALFORMED_TOKEN);
            event.token_hash = seen
                .token
                .filter(|token| !token.is_empty())
                .map(|token| redactor.hash(token));
        }
        // The agent takes the whole value for the JWT: with a `Bearer ` prefix it answers 400.
        Endpoint::PodIdentity => {
            let prefixed = seen
                .authorization
                .and_then(|value| value.strip_prefix(b"Bearer "));
            event.pod_identity = prefixed
                .or(seen.authorization)
                .and_then(|jwt| redactor.claims(jwt));
            let refused = prefixed.is_some() || event.pod_identity.is_none();
            event.flags.add_if(
                seen.authorization.is_some() && refused,
                Flags::MALFORMED_TOKEN,
            );
            event.token_hash = seen.authorization.map(|jwt| redactor.hash(jwt));
        }
        Endpoint::Ecs => event.token_hash = seen.authorization.map(|token| redactor.hash(token)),
    }
}

fn host(
    event: &mut ImdsEvent,
    place: &Place,
    redactor: &Redactor,
    target: &Target<'_>,
    seen: &Seen<'_>,
) {
    let named = target
        .authority
        .into_iter()
        .chain(seen.host)
        .chain(seen.foreign_hosts.iter().copied());
    if let Some(foreign) = named
        .into_iter()
        .find(|host| !is_own_host(place.endpoint, host))
    {
        event.flags.add(Flags::BAD_HOST);
        // An `@` behind the authority: user information that held a slash.
        let odd = target.authority.is_some() && target.raw_path.contains(&b'@');
        let name = |byte: &u8| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-_:[]".contains(byte)
        };
        let is_name = !odd && !seen.secrets.is_cut() && foreign.iter().all(name);
        event.host = Some(if is_name {
            redactor.text(foreign, &seen.secrets, HOST_BYTES)
        } else {
            redactor.blank(foreign)
        });
    }
}

fn parse_ttl(value: &[u8]) -> Option<u32> {
    if value.is_empty() || value.len() > 5 || !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let seconds = value
        .iter()
        .fold(0, |sum, digit| sum * 10 + u32::from(digit - b'0'));
    (1..=TTL_MAX_SECONDS).contains(&seconds).then_some(seconds)
}

fn known_method(method: &[u8]) -> &'static str {
    METHODS
        .into_iter()
        .find(|known| known.as_bytes() == method)
        .unwrap_or("OTHER")
}

/// IMDS serves GET and HEAD, and PUT on the token path alone; the others serve GET.
fn is_odd_method(endpoint: Endpoint, method: &str, class: Class) -> bool {
    match (endpoint, class) {
        (Endpoint::Imds, Class::Token) => method != "PUT",
        (Endpoint::Imds, _) => !matches!(method, "GET" | "HEAD"),
        (Endpoint::PodIdentity | Endpoint::Ecs, _) => method != "GET",
    }
}

/// Whether the token header's name stands anywhere in the lines.
fn names_token(lines: &[u8]) -> bool {
    lines
        .windows(TOKEN.len())
        .any(|window| window.eq_ignore_ascii_case(TOKEN.as_bytes()))
}
