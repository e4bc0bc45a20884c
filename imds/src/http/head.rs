//! The lines of one message head.

use std::ops::BitOr;

use memchr::{memchr, memrchr};

/// Ways in which a head departs from RFC 9112.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Oddities {
    /// A line ends with LF alone.
    pub lf_only: bool,
    /// A line without colon, an empty name, a name with blanks or control characters.
    pub malformed: bool,
    /// A line that continues the one before (`obs-fold`).
    pub folded: bool,
}

impl BitOr for Oddities {
    type Output = Self;
    fn bitor(self, other: Self) -> Self {
        Self {
            lf_only: self.lf_only | other.lf_only,
            malformed: self.malformed | other.malformed,
            folded: self.folded | other.folded,
        }
    }
}

/// `GET /path HTTP/1.1`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RequestLine<'a> {
    /// Token characters, unless the line is odd.
    pub method: &'a [u8],
    /// Everything between method and version, blanks trimmed.
    pub target: &'a [u8],
    /// `None` for a line without version (HTTP/0.9).
    pub version: Option<&'a [u8]>,
    /// It begins with a blank, its method is no token, or a control character stands in it.
    pub is_odd: bool,
}

/// The methods of RFC 9110 and RFC 5789.
pub(crate) const METHODS: [&str; 9] = [
    "GET", "PUT", "HEAD", "POST", "DELETE", "OPTIONS", "PATCH", "TRACE", "CONNECT",
];

/// `HTTP/1.1 200 OK`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StatusLine {
    /// 100..=999.
    pub status: u16,
}

/// One header field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header<'a> {
    /// As sent.
    pub name: &'a [u8],
    /// Blanks around it trimmed.
    pub value: &'a [u8],
    /// Blanks stood around the name, which servers read differently.
    pub blank_name: bool,
}

impl Header<'_> {
    /// Whether this is the header of that (lower-case) name.
    pub(crate) fn is(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name.as_bytes())
    }
}

/// A head split in first line and header lines. The incomplete last line of a cut head stands
/// apart: half a value says nothing that can be relied on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head<'a> {
    /// First line without its end; `None` if even that is incomplete.
    pub first_line: Option<&'a [u8]>,
    /// The complete lines after it.
    pub lines: &'a [u8],
    /// Whether the first line ends with LF alone.
    pub first_lf_only: bool,
    /// What there is of a line behind the last complete one.
    pub cut_line: &'a [u8],
}

impl<'a> Head<'a> {
    /// Splits a head, complete or cut.
    pub(crate) fn split(bytes: &'a [u8]) -> Self {
        let Some(end) = newline(bytes) else {
            return Self {
                first_line: None,
                lines: &[],
                first_lf_only: false,
                cut_line: bytes,
            };
        };
        let (line, rest) = bytes.split_at(end);
        let rest = rest.get(1..).unwrap_or_default();
        let complete = memrchr(b'\n', rest).map_or(0, |at| at + 1);
        let (lines, cut_line) = rest.split_at(complete);
        let (first_line, first_lf_only) = strip_cr(line);
        Self {
            first_line: Some(first_line),
            lines,
            first_lf_only,
            cut_line,
        }
    }
}

/// Whether a line begins with a method that is known and a blank.
pub(crate) fn names_method(line: &[u8]) -> bool {
    METHODS.iter().any(|method| {
        let rest = line.strip_prefix(method.as_bytes());
        rest.and_then(<[u8]>::first).copied().is_some_and(is_blank)
    })
}

/// Reads a request line; `None` if it is not one. What has the version at its end, or a known method
/// at its beginning, is one whatever else stands in it: the endpoint answers it and reads on, and
/// whoever took it for no request would miss those behind it.
pub(crate) fn parse_request_line(line: &[u8]) -> Option<RequestLine<'_>> {
    let trimmed = trim(line);
    let space = trimmed.iter().position(|byte| is_blank(*byte))?;
    let (method, rest) = trimmed.split_at(space);
    let rest = trim(rest);
    let last = rest
        .iter()
        .rposition(|byte| is_blank(*byte))
        .map_or(0, |at| at + 1);
    let (before, version) = rest.split_at(last);
    let (target, version) = if version.starts_with(b"HTTP/") {
        (trim(before), Some(version))
    } else {
        (rest, None)
    };
    let is_control = |byte: &u8| byte.is_ascii_control() && *byte != b'\t';
    let is_odd = line.first().copied().is_some_and(is_blank)
        || !method.iter().all(|byte| is_token(*byte))
        || target.iter().any(is_control);
    let is_request = version.is_some() || !is_odd || names_method(trimmed);
    (is_request && !target.is_empty()).then_some(RequestLine {
        method,
        target,
        version,
        is_odd,
    })
}

/// Reads a status line; `None` if it is not one of HTTP/1.x.
pub(crate) fn parse_status_line(line: &[u8]) -> Option<StatusLine> {
    let rest = line.strip_prefix(b"HTTP/1.")?;
    let space = rest.iter().position(|byte| is_blank(*byte))?;
    let (minor, rest) = rest.split_at(space);
    if minor.is_empty() || !minor.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let rest = trim(rest);
    let (digits, after) = rest.split_at_checked(3)?;
    if !digits.iter().all(u8::is_ascii_digit) || after.first().is_some_and(|byte| !is_blank(*byte))
    {
        return None;
    }
    let status = digits
        .iter()
        .fold(0, |sum, digit| sum * 10 + u16::from(digit - b'0'));
    (status >= 100).then_some(StatusLine { status })
}

/// Calls `each` for every complete header line. A folded line is not joined: it is an oddity, and
/// whoever depends on the header that it continues must not trust it.
pub(crate) fn walk_headers<'a>(lines: &'a [u8], mut each: impl FnMut(Header<'a>)) -> Oddities {
    let mut odd = Oddities::default();
    let mut rest = lines;
    while let Some(end) = newline(rest) {
        let (line, tail) = rest.split_at(end);
        rest = tail.get(1..).unwrap_or_default();
        let (line, lf_only) = strip_cr(line);
        odd.lf_only |= lf_only;
        if line.is_empty() {
            break;
        }
        if line.first().is_some_and(|byte| is_blank(*byte)) {
            odd.folded = true;
            continue;
        }
        let Some(colon) = memchr(b':', line) else {
            odd.malformed = true;
            continue;
        };
        let (raw_name, value) = line.split_at(colon);
        let name = trim(raw_name);
        let blank_name = name.len() != raw_name.len();
        if name.is_empty() || !name.iter().all(|byte| is_token(*byte)) {
            odd.malformed = true;
            continue;
        }
        odd.malformed |= blank_name;
        each(Header {
            name,
            value: trim(value.get(1..).unwrap_or_default()),
            blank_name,
        });
    }
    odd
}

/// Position of the first LF.
pub(super) fn newline(bytes: &[u8]) -> Option<usize> {
    memchr(b'\n', bytes)
}

fn strip_cr(line: &[u8]) -> (&[u8], bool) {
    line.strip_suffix(b"\r")
        .map_or((line, true), |stripped| (stripped, false))
}

pub(super) const fn is_blank(byte: u8) -> bool {
    byte == b' ' || byte == b'\t'
}

/// `tchar` of RFC 9110 section 5.6.2.
pub(super) const fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'!' | b'#'
                | b'$'
                | b'%'
                | b'&'
                | b'\''
                | b'*'
                | b'+'
                | b'-'
                | b'.'
                | b'^'
                | b'_'
                | b'`'
                | b'|'
                | b'~'
        )
}

fn trim(bytes: &[u8]) -> &[u8] {
    let start = bytes
        .iter()
        .position(|byte| !is_blank(*byte))
        .unwrap_or(bytes.len());
    let bytes = bytes.get(start..).unwrap_or_default();
    let end = bytes
        .iter()
        .rposition(|byte| !is_blank(*byte))
        .map_or(0, |at| at + 1);
    bytes.get(..end).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn request_lines() {
        let check_odd = |line: &str, is_odd: bool, expected: Option<(&str, &str, Option<&str>)>| {
            let parsed = parse_request_line(line.as_bytes());
            assert_eq!(parsed.is_some_and(|l| l.is_odd), is_odd, "{line}");
            let parsed = parsed.map(|l| (l.method, l.target, l.version));
            let expected =
                expected.map(|(m, t, v)| (m.as_bytes(), t.as_bytes(), v.map(str::as_bytes)));
            assert_eq!(parsed, expected, "{line}");
        };
        let check = |line: &str, expected| check_odd(line, false, expected);
        check("GET / HTTP/1.1", Some(("GET", "/", Some("HTTP/1.1"))));
        check(
            "GET   /a b  HTTP/1.0",
            Some(("GET", "/a b", Some("HTTP/1.0"))),
        );
        check("GET /latest", Some(("GET", "/latest", None)));
        check("GET /?x: HTTP/1.1", Some(("GET", "/?x:", Some("HTTP/1.1"))));
        check("GET HTTP/1.1", None);
        check("GET ", None);
        check("GET", None);
        check(" / HTTP/1.1", None);
        check("G\u{e9}T /", None);
        check("abc \x01", None);
        for (line, method, target, version) in [
            ("G\u{e9}T / HTTP/1.1", "G\u{e9}T", "/", Some("HTTP/1.1")),
            (" \tGET / HTTP/1.1", "GET", "/", Some("HTTP/1.1")),
            ("GET /\0 HTTP/1.1", "GET", "/\0", Some("HTTP/1.1")),
            ("GET /\x7f", "GET", "/\x7f", None),
        ] {
            check_odd(line, true, Some((method, target, version)));
        }
    }

    #[test]
    fn status_lines() {
        let check = |line: &str, expected: Option<u16>| {
            assert_eq!(
                parse_status_line(line.as_bytes()).map(|l| l.status),
                expected,
                "{line}"
            );
        };
        check("HTTP/1.1 200 OK", Some(200));
        check("HTTP/1.0 404", Some(404));
        check("HTTP/1.1  401 Unauthorized", Some(401));
        check("HTTP/2 200", None);
        check("HTTP/1.1 20", None);
        check("HTTP/1.1 2000", None);
        check("HTTP/1.1 099 x", None);
        check("HTTP/1. 200", None);
    }

    #[test]
    fn header_lines() {
        let text =
            b"Host: a\r\nX:\t b \t\r\nbad line\r\n folded\r\nName : v\r\nLf: 1\n\r\nAfter: 1\r\n";
        let mut seen = Vec::new();
        let odd = walk_headers(text, |h| {
            seen.push((
                String::from_utf8_lossy(h.name),
                String::from_utf8_lossy(h.value),
                h.blank_name,
            ));
        });
        let expected = [
            ("Host", "a", false),
            ("X", "b", false),
            ("Name", "v", true),
            ("Lf", "1", false),
        ];
        assert_eq!(seen, expected.map(|(n, v, b)| (n.into(), v.into(), b)));
        assert_eq!(
            odd,
            Oddities {
                lf_only: true,
                malformed: true,
                folded: true
            }
        );
    }
}
