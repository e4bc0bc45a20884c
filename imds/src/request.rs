//! One request head becomes the first half of an event.

use std::borrow::Cow;
use std::net::SocketAddr;

use crate::classify::{classify, is_own_host};
use crate::http::{Cut, Framing, Head, Header, RequestLine, parse_request_line, walk_headers};
use crate::redact::{
    HOST_BYTES, PATH_BYTES, Secrets, USER_AGENT_BYTES, looks_secret, role_looks_secret,
};
use crate::target::{self, Target};
use crate::{Class, ConnKey, Endpoint, Flags, ImdsEvent, Opaque, Outcome, Redactor, Version};

/// The two headers that make a request version 2.
const TOKEN: &str = "x-aws-ec2-metadata-token";
pub(crate) const TTL: &str = "x-aws-ec2-metadata-token-ttl-seconds";
/// Longest life of a session token, seconds (EC2 user guide).
const TTL_MAX_SECONDS: u32 = 21_600;
/// Shorter than any token ever issued (they have 56 characters).
const TOKEN_MIN_BYTES: usize = 8;
/// Longer than any token ever issued.
const TOKEN_MAX_BYTES: usize = 1024;
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
    // Without a version there are no headers to miss.
    let cut_off = cut != Cut::Whole && line.is_none_or(|line| line.version.is_some());
    event.flags.add_if(cut_off, Flags::HEADER_TRUNCATED);
    let Some(line) = line else {
        return unreadable(
            event,
            head.first_line.unwrap_or(bytes),
            head.first_line.is_some(),
        );
    };
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
            return Request {
                event,
                framing: Framing::Lost,
                is_head: false,
            };
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
    let framing = seen.framing(cut, &mut event.flags);
    fill(&mut event, place, redactor, &line, &seen);
    Request {
        event,
        framing,
        is_head: line.method == b"HEAD",
    }
}

fn unreadable(mut event: ImdsEvent, start: &[u8], has_line: bool) -> Request {
    let text = |byte: &u8| byte.is_ascii_graphic() || matches!(byte, b' ' | b'\t' | b'\r');
    let start = start.get(..SNIFF_BYTES).unwrap_or(start);
    if start.iter().all(text) {
        event.reason = Some(Cow::Borrowed(if has_line {
            "bad_request_line"
        } else {
            "no_request_line"
        }));
        return Request {
            event,
            framing: Framing::Lost,
            is_head: false,
        };
    }
    event.opaque = Some(Opaque::Binary);
    Request {
        event,
        framing: Framing::Opaque,
        is_head: false,
    }
}

/// The headers that matter.
#[derive(Default)]
struct Seen<'a> {
    tokens: u32,
    token: Option<&'a [u8]>,
    doubtful_token: bool,
    ttls: u32,
    ttl: Option<&'a [u8]>,
    host: Option<&'a [u8]>,
    foreign_hosts: Vec<&'a [u8]>,
    user_agent: Option<&'a [u8]>,
    authorization: Option<&'a [u8]>,
    secrets: Secrets<'a>,
    proxied: bool,
    lengths: Lengths,
    cut: bool,
}

/// Body length as the headers say it.
#[derive(Default)]
pub(crate) struct Lengths {
    pub(crate) length: Option<u64>,
    pub(crate) chunked: bool,
    pub(crate) conflict: bool,
}

impl Lengths {
    pub(crate) fn take(&mut self, header: &Header<'_>) {
        if header.is("content-length") {
            let digits = !header.value.is_empty() && header.value.iter().all(u8::is_ascii_digit);
            let text = std::str::from_utf8(header.value).ok().filter(|_| digits);
            match text.and_then(|text| text.parse().ok()) {
                Some(length) if self.length.is_none_or(|known| known == length) => {
                    self.length = Some(length);
                }
                _ => self.conflict = true,
            }
        } else if header.is("transfer-encoding") {
            self.chunked |= header.value.to_ascii_lowercase().ends_with(b"chunked");
        }
    }
}

impl<'a> Seen<'a> {
    fn take(&mut self, header: &Header<'a>) {
        // The length decides first: nearly every header is none of ours.
        match header.name.len() {
            24 if header.is(TOKEN) => {
                self.secrets.add(header.value);
                if header.blank_name {
                    self.doubtful_token = true;
                } else {
                    self.tokens += 1;
                    self.token.get_or_insert(header.value);
                }
            }
            36 if header.is(TTL) => {
                self.ttls += 1;
                self.ttl.get_or_insert(header.value);
            }
            4 if header.is("host") => {
                if self.host.is_some() {
                    self.foreign_hosts.push(header.value);
                }
                self.host.get_or_insert(header.value);
            }
            10 if header.is("user-agent") => self.user_agent = Some(header.value),
            13 if header.is("authorization") => {
                self.secrets.add(header.value);
                self.authorization.get_or_insert(header.value);
            }
            6 if header.is("cookie") => self.secrets.add(header.value),
            15 if header.is("x-forwarded-for") => self.proxied = true,
            3 if header.is("via") => self.proxied = true,
            9 if header.is("forwarded") => self.proxied = true,
            14 | 17 => self.lengths.take(header),
            _ => {}
        }
    }

    fn framing(&self, cut: Cut, flags: &mut Flags) -> Framing {
        let conflict =
            self.lengths.conflict || (self.lengths.chunked && self.lengths.length.is_some());
        flags.add_if(conflict, Flags::LENGTH_CONFLICT);
        match (cut, self.lengths.chunked, self.lengths.length) {
            (Cut::Missing, ..) => Framing::Lost,
            _ if self.lengths.conflict => Framing::Lost,
            (_, true, _) => Framing::Chunked,
            (_, false, length) => Framing::Length(length.unwrap_or(0)),
        }
    }

    fn version(&self) -> Version {
        if self.tokens > 0 || self.ttls > 0 {
            Version::V2
        } else if self.cut || self.doubtful_token {
            Version::Unknown
        } else {
            Version::V1
        }
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
        let is_name = !odd && foreign.iter().all(name);
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
    const METHODS: [&str; 9] = [
        "GET", "PUT", "HEAD", "POST", "DELETE", "OPTIONS", "PATCH", "TRACE", "CONNECT",
    ];
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

struct Shown {
    text: String,
    /// Nothing was blanked.
    is_whole: bool,
}

/// The path as it may be shown: the service's own words as they are, the client's only if they
/// read like words.
fn show_path(
    path: &str,
    class: &crate::classify::PathClass<'_>,
    redactor: &Redactor,
    secrets: &Secrets<'_>,
) -> Shown {
    let (known, free) = path
        .split_at_checked(class.known_bytes)
        .unwrap_or(("", path));
    let bytes = free.as_bytes();
    let plain =
        |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"/-._:=".contains(byte);
    let fits = match class.class {
        Class::Cred if class.role.is_none() => free.is_empty(),
        Class::Cred => {
            bytes.len() <= 65
                && bytes
                    .iter()
                    .all(|b| b.is_ascii_alphanumeric() || b"_+=,.@-/".contains(b))
                && !role_looks_secret(bytes)
        }
        Class::Tags | Class::Keys => bytes.len() <= 128 && !looks_secret(bytes),
        _ => bytes.len() < 8 || (bytes.iter().all(plain) && !looks_secret(bytes)),
    };
    let is_whole = fits && path.len() <= PATH_BYTES && !secrets.shares_window(path.as_bytes());
    if is_whole {
        return Shown {
            text: path.to_owned(),
            is_whole,
        };
    }
    let known = if known.is_empty() { "/" } else { known };
    Shown {
        text: format!("{known}{}", redactor.blank(bytes)),
        is_whole,
    }
}

/// The target as sent. A query means nothing to any of the services, so it is only told apart.
fn show_raw(
    target: &Target<'_>,
    path_is_whole: bool,
    redactor: &Redactor,
    secrets: &Secrets<'_>,
) -> String {
    let raw = target.raw_path;
    let harmless = path_is_whole
        && raw.len() <= PATH_BYTES
        && raw.iter().all(u8::is_ascii_graphic)
        && !secrets.shares_window(raw)
        && !raw_looks_secret(raw, target);
    let mut text = if harmless {
        String::from_utf8_lossy(raw).into_owned()
    } else {
        redactor.blank(raw)
    };
    if let Some(query) = target.query {
        text.push('?');
        text.push_str(&redactor.blank(query));
    }
    text
}

/// A path that is sent as it is was judged already. One that was rewritten may have hidden words:
/// each must be in the path shown, or be made of lower-case letters and the like.
fn raw_looks_secret(raw: &[u8], target: &Target<'_>) -> bool {
    let plain = |byte: &u8| {
        byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-._:=%\\".contains(byte)
    };
    let shown = |word: &[u8]| target.path.split('/').any(|known| known.as_bytes() == word);
    raw != target.path.as_bytes()
        && (looks_secret(raw)
            || raw
                .split(|byte| *byte == b'/')
                .any(|word| !word.iter().all(plain) && !shown(word)))
}
