//! Metadata requests in endless variety, each with the version and class that it must be given.
//!
//! Families: every path class under every kind of version prefix, with a session token or without,
//! token names in places where they mean nothing, names in any letter case with any blanks around
//! values, paths in disguise (percent encoding, doubled slashes, dots, absolute form), token
//! requests. [`deliver`] cuts them into segments that come twice or out of order. All from one seed.

use fastrand::Rng;
use plimsoll_imds::{Class, ConnKey, Direction, Segment, Version};

/// A request and what it is.
#[derive(Clone, Debug)]
pub struct Case {
    /// As on the wire.
    pub request: Vec<u8>,
    /// Which generation of IMDS it speaks.
    pub version: Version,
    /// What its path gives away.
    pub class: Class,
}

const PREFIXES: [&str; 6] = [
    "latest",
    "1.0",
    "2007-01-19",
    "2016-09-02",
    "2021-03-23",
    "2024-12-24",
];

const PATHS: [(&str, Class); 24] = [
    ("meta-data/iam/security-credentials/node-role", Class::Cred),
    (
        "meta-data/iam/security-credentials-extended/node-role",
        Class::Cred,
    ),
    (
        "meta-data/identity-credentials/ec2/security-credentials/ec2-instance",
        Class::Cred,
    ),
    ("meta-data/iam/security-credentials/", Class::CredList),
    ("meta-data/iam/info", Class::CredList),
    ("meta-data/identity-credentials/ec2/info", Class::CredList),
    ("user-data", Class::SecretCfg),
    (
        "meta-data/managed-ssh-keys/active-keys/ec2-user",
        Class::SecretCfg,
    ),
    ("dynamic/instance-identity/document", Class::IdentityProof),
    ("dynamic/instance-identity/pkcs7", Class::IdentityProof),
    ("dynamic/instance-identity/rsa2048", Class::IdentityProof),
    ("meta-data/public-keys/0/openssh-key", Class::Keys),
    ("meta-data/tags/instance/Name", Class::Tags),
    ("meta-data/local-ipv4", Class::Network),
    ("meta-data/mac", Class::Network),
    ("meta-data/security-groups", Class::Network),
    (
        "meta-data/network/interfaces/macs/02:29:96:8f:6a:2d/device-number",
        Class::Network,
    ),
    ("meta-data/instance-id", Class::Topology),
    ("meta-data/instance-type", Class::Topology),
    ("meta-data/placement/availability-zone", Class::Topology),
    ("meta-data/hostname", Class::Topology),
    ("meta-data/spot/instance-action", Class::Lifecycle),
    ("meta-data/events/maintenance/scheduled", Class::Lifecycle),
    ("meta-data/", Class::RootEnum),
];

const AGENTS: [&str; 4] = [
    "curl/8.5.0",
    "aws-sdk-go-v2/1.24.0 os/linux lang/go#1.21.5",
    "x-aws-ec2-metadata-token",
    "Boto3/1.29 X-aws-ec2-metadata-token-ttl-seconds: 60",
];

fn pick<T: Copy>(rng: &mut Rng, of: &[T], other: T) -> T {
    rng.choice(of).copied().unwrap_or(other)
}

/// The next request of a seed.
pub fn case(rng: &mut Rng) -> Case {
    let token = rng.u8(0..12) == 0;
    let (method, target, class) = if token {
        ("PUT", "/latest/api/token".to_owned(), Class::Token)
    } else {
        let (path, class) = pick(rng, &PATHS, ("user-data", Class::SecretCfg));
        let prefix = pick(rng, &PREFIXES, "latest");
        let path = disguise(rng, &format!("/{prefix}/{path}"));
        let method = if rng.u8(0..16) == 0 { "HEAD" } else { "GET" };
        (method, target(rng, path), class)
    };
    let with_token = !token && rng.bool();
    let mut headers = vec![
        header(rng, "Host", "169.254.169.254"),
        header(rng, "Accept", "*/*"),
    ];
    if rng.bool() {
        let agent = pick(rng, &AGENTS, "curl/8");
        headers.push(header(rng, "User-Agent", agent));
    }
    if rng.u8(0..8) == 0 {
        // Names that only look alike.
        headers.push(header(rng, "X-aws-ec2-metadata-tokens", "a"));
        let filler = "f".repeat(rng.usize(0..3000));
        headers.push(header(rng, "X-Filler", &filler));
    }
    if token {
        headers.push(header(rng, "X-aws-ec2-metadata-token-ttl-seconds", "21600"));
    } else if with_token {
        let value: String = (0..54).map(|_| rng.alphanumeric()).collect();
        headers.push(header(
            rng,
            "X-aws-ec2-metadata-token",
            &format!("{value}=="),
        ));
    }
    rng.shuffle(&mut headers);
    let request = format!("{method} {target} HTTP/1.1\r\n{}\r\n", headers.concat());
    Case {
        request: request.into_bytes(),
        version: if token || with_token {
            Version::V2
        } else {
            Version::V1
        },
        class,
    }
}

/// A header line in any letter case, with any blanks around its value.
fn header(rng: &mut Rng, name: &str, value: &str) -> String {
    let name: String = match rng.u8(0..4) {
        0 => name.to_lowercase(),
        1 => name.to_uppercase(),
        2 => name
            .chars()
            .map(|letter| {
                if rng.bool() {
                    letter.to_ascii_uppercase()
                } else {
                    letter.to_ascii_lowercase()
                }
            })
            .collect(),
        _ => name.to_owned(),
    };
    let before = pick(rng, &["", " ", "\t", " \t "], " ");
    let after = pick(rng, &["", "", " ", "\t"], "");
    format!("{name}:{before}{value}{after}\r\n")
}

/// The same path, written otherwise.
fn disguise(rng: &mut Rng, path: &str) -> String {
    match rng.u8(0..8) {
        0 => path.replacen('/', "//", 1),
        1 => path.replacen('/', "/./", 2),
        2 => path.replacen('/', "/a/../", 2),
        3 => path
            .bytes()
            .map(|byte| {
                if byte.is_ascii_alphabetic() && rng.u8(0..3) == 0 {
                    format!("%{byte:02x}")
                } else {
                    char::from(byte).to_string()
                }
            })
            .collect(),
        _ => path.to_owned(),
    }
}

/// The request target: the path, with a query or in absolute form now and then.
fn target(rng: &mut Rng, path: String) -> String {
    match rng.u8(0..10) {
        0 => format!("http://169.254.169.254{path}"),
        1 => format!("{path}?x-aws-ec2-metadata-token:=1"),
        _ => path,
    }
}

/// One piece of a request: where it starts and what it carries.
pub type Piece<'a> = (u32, &'a [u8]);

/// A request as segments: cut anywhere, some sent again, neighbours swapped.
pub fn deliver<'a>(rng: &mut Rng, request: &'a [u8]) -> Vec<Piece<'a>> {
    let mut cuts: Vec<usize> = (0..rng.usize(0..7))
        .map(|_| rng.usize(0..request.len().max(1)))
        .collect();
    cuts.extend([0, request.len()]);
    cuts.sort_unstable();
    cuts.dedup();
    let mut pieces: Vec<Piece<'a>> = cuts
        .windows(2)
        .filter_map(|pair| {
            let (start, end) = (*pair.first()?, *pair.last()?);
            Some((u32::try_from(start).ok()?, request.get(start..end)?))
        })
        .collect();
    for _ in 0..rng.usize(0..3) {
        let at = rng.usize(0..pieces.len().max(1));
        if let Some(again) = pieces.get(at).copied() {
            // Sent again right away, or late.
            let place = rng.usize(at..pieces.len()) + 1;
            pieces.insert(place, again);
        }
    }
    if pieces.len() > 1 && rng.bool() {
        let at = rng.usize(0..pieces.len() - 1);
        pieces.swap(at, at + 1);
    }
    pieces
}

/// A segment of a conversation between a pod and IMDS.
pub fn segment(
    key: u64,
    direction: Direction,
    seq: u32,
    payload: &[u8],
    time_ns: u64,
) -> Segment<'_> {
    let client = ([10, 0, 0, 5], 40_000).into();
    let server = ([169, 254, 169, 254], 80).into();
    let (src, dst) = match direction {
        Direction::Request => (client, server),
        Direction::Response => (server, client),
    };
    Segment {
        key: ConnKey::Cookie(key),
        direction,
        seq,
        ack: None,
        syn: false,
        fin: false,
        rst: false,
        fragment: false,
        hop_limit: None,
        payload,
        payload_len: u32::try_from(payload.len()).unwrap_or(u32::MAX),
        time_ns,
        src,
        dst,
    }
}
