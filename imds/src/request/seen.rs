//! What the headers of a request say, as far as it matters here.

use crate::http::{Cut, Framing, Header};
use crate::redact::Secrets;
use crate::{Flags, Version};

/// The two headers that make a request version 2.
pub(super) const TOKEN: &str = "x-aws-ec2-metadata-token";
pub(crate) const TTL: &str = "x-aws-ec2-metadata-token-ttl-seconds";

/// The headers that matter.
#[derive(Default)]
pub(super) struct Seen<'a> {
    pub(super) tokens: u32,
    pub(super) token: Option<&'a [u8]>,
    pub(super) doubtful_token: bool,
    pub(super) ttls: u32,
    pub(super) ttl: Option<&'a [u8]>,
    pub(super) host: Option<&'a [u8]>,
    pub(super) foreign_hosts: Vec<&'a [u8]>,
    pub(super) user_agent: Option<&'a [u8]>,
    pub(super) authorization: Option<&'a [u8]>,
    pub(super) secrets: Secrets<'a>,
    pub(super) proxied: bool,
    lengths: Lengths,
    pub(super) cut: bool,
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
    pub(super) fn take(&mut self, header: &Header<'a>) {
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
            15 if header.is("x-forwarded-for") => self.proxied = true,
            3 if header.is("via") => self.proxied = true,
            9 if header.is("forwarded") => self.proxied = true,
            14 if header.is("content-length") => self.lengths.take(header),
            17 if header.is("transfer-encoding") => self.lengths.take(header),
            _ if names_secret(header.name) => self.secrets.add(header.value),
            _ => {}
        }
    }

    /// The line in which the head was cut: of a secret, what there is of it.
    pub(super) fn take_cut(&mut self, line: &'a [u8]) {
        let colon = line.iter().position(|byte| *byte == b':');
        if let Some((name, value)) = colon.and_then(|at| line.split_at_checked(at))
            && names_secret(name)
        {
            let value = value.get(1..).unwrap_or_default();
            self.secrets.add(value.trim_ascii_start());
        }
    }

    pub(super) fn framing(&self, cut: Cut, flags: &mut Flags) -> Framing {
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

    pub(super) fn version(&self) -> Version {
        if self.tokens > 0 || self.ttls > 0 {
            Version::V2
        } else if self.cut || self.doubtful_token {
            Version::Unknown
        } else {
            Version::V1
        }
    }
}

/// Whether a header's name says that its value authenticates somebody.
fn names_secret(name: &[u8]) -> bool {
    const PARTS: [&str; 8] = [
        "token",
        "auth",
        "cookie",
        "secret",
        "credential",
        "password",
        "api-key",
        "signature",
    ];
    (0..name.len()).any(|at| {
        let rest = name.get(at..).unwrap_or_default();
        let first = rest.first().map_or(0, u8::to_ascii_lowercase);
        matches!(first, b't' | b'a' | b'c' | b's' | b'p')
            && PARTS.iter().any(|part| {
                rest.get(..part.len())
                    .is_some_and(|start| start.eq_ignore_ascii_case(part.as_bytes()))
            })
    })
}
