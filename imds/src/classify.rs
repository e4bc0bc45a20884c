//! What a path gives away, and whether a host name is the endpoint's own.
//!
//! Sources: EC2 user guide "Instance metadata categories"; eks-pod-identity-agent; ECS task role
//! documentation. Paths are compared after normalisation ([`crate::target`]), case-sensitively, as
//! IMDS does.

use std::net::IpAddr;

use crate::{Class, Endpoint};

/// A path's meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PathClass<'a> {
    /// See [`Class`].
    pub class: Class,
    /// Role whose credentials the path names.
    pub role: Option<&'a str>,
    /// How many bytes at the front are the service's own words. The rest is the client's choice.
    pub known_bytes: usize,
    /// A token path below a version that does not serve it.
    pub dated_token_path: bool,
}

/// Classifies a normalised path.
pub(crate) fn classify(endpoint: Endpoint, path: &str) -> PathClass<'_> {
    match endpoint {
        Endpoint::Imds => imds(path),
        Endpoint::PodIdentity => exact(
            path,
            if path == "/v1/credentials" {
                Class::Cred
            } else {
                Class::Unknown
            },
        ),
        Endpoint::Ecs => ecs(path),
    }
}

fn exact(path: &str, class: Class) -> PathClass<'_> {
    let known_bytes = if class == Class::Unknown {
        0
    } else {
        path.len()
    };
    PathClass {
        class,
        role: None,
        known_bytes,
        dated_token_path: false,
    }
}

/// `/v2/credentials/<id>`: the id is what authenticates, so it is not among the known bytes.
fn ecs(path: &str) -> PathClass<'_> {
    const CREDENTIALS: &str = "/v2/credentials/";
    match path.strip_prefix(CREDENTIALS) {
        Some(id) if !id.is_empty() && !id.contains('/') => PathClass {
            class: Class::Cred,
            role: None,
            known_bytes: CREDENTIALS.len(),
            dated_token_path: false,
        },
        _ => exact(path, Class::Unknown),
    }
}

fn imds(path: &str) -> PathClass<'_> {
    let Some(relative) = path.strip_prefix('/') else {
        return exact(path, Class::Unknown);
    };
    let (version, rest) = relative.split_once('/').unwrap_or((relative, ""));
    if version.is_empty() {
        return exact(path, Class::RootEnum);
    }
    if !is_version(version) {
        return exact(path, Class::Unknown);
    }
    let (rest, slash) = rest
        .strip_suffix('/')
        .map_or((rest, 0), |stripped| (stripped, 1));
    let (class, role, free_bytes) = below_version(rest);
    let dated_token_path = class == Class::Token && version != "latest";
    let tail = path.len() - 1 - version.len() - usize::from(relative.len() > version.len());
    let free_bytes = match (class, free_bytes) {
        (Class::Unknown, _) => tail,
        (_, 0) => 0,
        (_, free) => (free + slash).min(tail),
    };
    let known_bytes = path.len() - free_bytes;
    PathClass {
        class,
        role,
        known_bytes,
        dated_token_path,
    }
}

/// `latest`, `1.0`, or a date: new dates come with new instance types, so any date counts.
fn is_version(text: &str) -> bool {
    let dated = || {
        text.len() == 10
            && text.bytes().enumerate().all(|(at, byte)| match at {
                4 | 7 => byte == b'-',
                _ => byte.is_ascii_digit(),
            })
    };
    text == "latest" || text == "1.0" || dated()
}

/// Class, role, and how many bytes at the end are the client's choice.
fn below_version(rest: &str) -> (Class, Option<&str>, usize) {
    let (top, rest) = rest.split_once('/').unwrap_or((rest, ""));
    match (top, rest) {
        ("", _) | ("meta-data" | "dynamic", "") => (Class::RootEnum, None, 0),
        ("meta-data", rest) => meta_data(rest),
        ("api", "token") => (Class::Token, None, 0),
        ("user-data", "") => (Class::SecretCfg, None, 0),
        ("dynamic", rest) => match rest.strip_prefix("instance-identity") {
            Some("") => (Class::IdentityProof, None, 0),
            Some(tail) if tail.starts_with('/') => (Class::IdentityProof, None, tail.len()),
            _ => (Class::Unknown, None, 0),
        },
        _ => (Class::Unknown, None, 0),
    }
}

fn meta_data(rest: &str) -> (Class, Option<&str>, usize) {
    let (top, tail) = rest.split_once('/').unwrap_or((rest, ""));
    let class = match top {
        "iam" => return iam(tail),
        "identity-credentials" => return identity_credentials(tail),
        "managed-ssh-keys" => Class::SecretCfg,
        "public-keys" => Class::Keys,
        "tags" => Class::Tags,
        "network" => Class::Network,
        "placement" | "services" | "block-device-mapping" | "system" => Class::Topology,
        "spot" | "events" | "autoscaling" => Class::Lifecycle,
        _ if !tail.is_empty() => Class::Unknown,
        "local-ipv4" | "public-ipv4" | "ipv6" | "mac" | "security-groups" => Class::Network,
        "instance-life-cycle" | "instance-action" => Class::Lifecycle,
        "ami-id" | "ami-launch-index" | "ami-manifest-path" | "ancestor-ami-ids" | "hostname"
        | "instance-id" | "instance-type" | "kernel-id" | "local-hostname" | "product-codes"
        | "profile" | "public-hostname" | "ramdisk-id" | "reservation-id" => Class::Topology,
        _ => Class::Unknown,
    };
    (class, None, tail.len())
}

fn iam(tail: &str) -> (Class, Option<&str>, usize) {
    let role = |role| match role {
        Some("") => (Class::CredList, None, 0),
        Some(role) => role
            .strip_prefix('/')
            .filter(|role| !role.is_empty() && !role.contains('/'))
            .map_or((Class::Unknown, None, 0), |role| {
                (Class::Cred, Some(role), role.len())
            }),
        None => (Class::Unknown, None, 0),
    };
    match tail {
        "info" => (Class::CredList, None, 0),
        _ => match tail.strip_prefix("security-credentials-extended") {
            Some(rest) => role(Some(rest)),
            None => role(tail.strip_prefix("security-credentials")),
        },
    }
}

fn identity_credentials(tail: &str) -> (Class, Option<&str>, usize) {
    match tail {
        "ec2/info" | "ec2/security-credentials" => (Class::CredList, None, 0),
        "ec2/security-credentials/ec2-instance" => (Class::Cred, Some("ec2-instance"), 0),
        _ => (Class::Unknown, None, 0),
    }
}

/// Whether a `Host` value or URI authority names the endpoint.
///
/// Accepted are its addresses as text and, for IMDS, the names that the VPC resolver knows
/// (`instance-data`, `instance-data.<region>.compute.internal`, `instance-data.ec2.internal`).
/// Other spellings of the same address (decimal, hexadecimal, octal) are not: no honest client
/// uses them.
pub(crate) fn is_own_host(endpoint: Endpoint, host: &[u8]) -> bool {
    let Ok(host) = std::str::from_utf8(host) else {
        return false;
    };
    let (name, port) = split_port(host);
    if port.is_some_and(|port| port.parse::<u16>().is_err()) {
        return false;
    }
    let name = name.strip_suffix('.').unwrap_or(name);
    let bare = name
        .strip_prefix('[')
        .and_then(|name| name.strip_suffix(']'))
        .unwrap_or(name);
    if let Ok(ip) = bare.parse::<IpAddr>() {
        return Endpoint::of(ip) == Some(endpoint);
    }
    let own_name = || {
        let lower = name.to_ascii_lowercase();
        lower == "instance-data"
            || lower.strip_prefix("instance-data.").is_some_and(|domain| {
                domain == "ec2.internal" || domain.ends_with(".compute.internal")
            })
    };
    endpoint == Endpoint::Imds && own_name()
}

/// `name:port` into its parts; colons within brackets, or several of them, belong to an address.
fn split_port(host: &str) -> (&str, Option<&str>) {
    match host.rsplit_once(':') {
        Some((name, port)) if !name.contains(':') || name.ends_with(']') => (name, Some(port)),
        _ => (host, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Class::{
        Cred, CredList, IdentityProof, Keys, Lifecycle, Network, RootEnum, SecretCfg, Tags, Token,
        Topology, Unknown,
    };

    /// Paths below a version, with class and role.
    const PATHS: &[(&str, Class, Option<&str>)] = &[
        ("", RootEnum, None),
        ("/", RootEnum, None),
        ("/meta-data", RootEnum, None),
        ("/meta-data/", RootEnum, None),
        ("/dynamic/", RootEnum, None),
        ("/meta-data/iam/security-credentials", CredList, None),
        ("/meta-data/iam/security-credentials/", CredList, None),
        ("/meta-data/iam/security-credentials/r", Cred, Some("r")),
        ("/meta-data/iam/security-credentials/r/", Cred, Some("r")),
        ("/meta-data/iam/security-credentials/r/x", Unknown, None),
        ("/meta-data/iam/security-credentialsx", Unknown, None),
        (
            "/meta-data/iam/security-credentials-extended/",
            CredList,
            None,
        ),
        (
            "/meta-data/iam/security-credentials-extended/r",
            Cred,
            Some("r"),
        ),
        ("/meta-data/iam/info", CredList, None),
        ("/meta-data/identity-credentials/ec2/info", CredList, None),
        (
            "/meta-data/identity-credentials/ec2/security-credentials/",
            CredList,
            None,
        ),
        (
            "/meta-data/identity-credentials/ec2/security-credentials/ec2-instance",
            Cred,
            Some("ec2-instance"),
        ),
        ("/api/token", Token, None),
        ("/user-data", SecretCfg, None),
        ("/user-data/", SecretCfg, None),
        (
            "/meta-data/managed-ssh-keys/active-keys/me",
            SecretCfg,
            None,
        ),
        ("/dynamic/instance-identity/document", IdentityProof, None),
        ("/dynamic/instance-identity/rsa2048", IdentityProof, None),
        ("/dynamic/instance-identity/pkcs7", IdentityProof, None),
        ("/dynamic/instance-identity/signature", IdentityProof, None),
        ("/dynamic/instance-identityx", Unknown, None),
        ("/meta-data/managed-ssh-keys/signer-cert", SecretCfg, None),
        ("/meta-data/public-keys/", Keys, None),
        ("/meta-data/tags/instance", Tags, None),
        ("/meta-data/public-ipv4", Network, None),
        ("/meta-data/security-groups", Network, None),
        ("/meta-data/instance-type", Topology, None),
        ("/meta-data/ami-id", Topology, None),
        ("/meta-data/services/partition", Topology, None),
        ("/meta-data/block-device-mapping/ami", Topology, None),
        ("/meta-data/spot/termination-time", Lifecycle, None),
        (
            "/meta-data/events/recommendations/rebalance",
            Lifecycle,
            None,
        ),
        ("/meta-data/public-keys/0/openssh-key", Keys, None),
        ("/meta-data/tags/instance/Name", Tags, None),
        (
            "/meta-data/network/interfaces/macs/02:00:00:00:00:01/vpc-id",
            Network,
            None,
        ),
        ("/meta-data/local-ipv4", Network, None),
        ("/meta-data/mac", Network, None),
        ("/meta-data/instance-id", Topology, None),
        ("/meta-data/placement/availability-zone", Topology, None),
        ("/meta-data/hostname", Topology, None),
        ("/meta-data/spot/instance-action", Lifecycle, None),
        ("/meta-data/events/maintenance/scheduled", Lifecycle, None),
        (
            "/meta-data/autoscaling/target-lifecycle-state",
            Lifecycle,
            None,
        ),
        ("/meta-data/instance-life-cycle", Lifecycle, None),
        ("/meta-data/nonsense", Unknown, None),
        ("/nonsense", Unknown, None),
    ];

    #[test]
    fn imds_paths() {
        for (below, class, role) in PATHS {
            for version in ["latest", "1.0", "2007-01-19", "2021-03-23", "2031-12-31"] {
                let path = format!("/{version}{below}");
                let got = classify(Endpoint::Imds, &path);
                assert_eq!((got.class, got.role), (*class, *role), "{path}");
                assert!(got.known_bytes <= path.len(), "{path}");
                assert_eq!(
                    got.dated_token_path,
                    *class == Token && version != "latest",
                    "{path}"
                );
            }
        }
        for path in [
            "*",
            "",
            "/meta-data/",
            "/latestx/user-data",
            "/2021-3-23/user-data",
            "/1.1/user-data",
        ] {
            assert_eq!(classify(Endpoint::Imds, path).class, Unknown, "{path}");
        }
        assert_eq!(classify(Endpoint::Imds, "/").class, RootEnum);
    }

    #[test]
    fn known_bytes_end_before_the_clients_words() {
        let check = |path: &str, known: &str| {
            let got = classify(Endpoint::Imds, path);
            assert_eq!(path.split_at(got.known_bytes).0, known, "{path}");
        };
        check("/latest/meta-data/", "/latest/meta-data/");
        check("/latest/user-data", "/latest/user-data");
        check("/latest/secret", "/latest/");
        check("/secret", "");
        check("/latest/meta-data/secret", "/latest/");
        check(
            "/latest/meta-data/iam/security-credentials/r",
            "/latest/meta-data/iam/security-credentials/",
        );
    }

    #[test]
    fn other_endpoints() {
        let class = |endpoint, path| classify(endpoint, path).class;
        assert_eq!(class(Endpoint::PodIdentity, "/v1/credentials"), Class::Cred);
        assert_eq!(
            class(Endpoint::PodIdentity, "/v1/credentials/"),
            Class::Unknown
        );
        assert_eq!(
            class(Endpoint::PodIdentity, "/latest/user-data"),
            Class::Unknown
        );
        assert_eq!(
            class(Endpoint::Ecs, "/v2/credentials/9b1deb4d"),
            Class::Cred
        );
        assert_eq!(class(Endpoint::Ecs, "/v2/credentials/"), Class::Unknown);
        assert_eq!(class(Endpoint::Ecs, "/v2/credentials/a/b"), Class::Unknown);
        assert_eq!(
            classify(Endpoint::Ecs, "/v2/credentials/9b1d").known_bytes,
            16
        );
    }

    #[test]
    fn hosts() {
        for (host, own) in [
            ("169.254.169.254", true),
            ("169.254.169.254:80", true),
            ("169.254.169.254:x", false),
            ("[fd00:ec2::254]", true),
            ("[fd00:ec2::254]:80", true),
            ("fd00:ec2::254", true),
            ("[FD00:EC2:0::254]", true),
            ("instance-data", true),
            ("Instance-Data.eu-west-1.compute.internal", true),
            ("instance-data.ec2.internal.", true),
            ("instance-data.evil.example", false),
            ("instance-dataX", false),
            ("2852039166", false),
            ("0xa9fea9fe", false),
            ("0xa9.0xfe.0xa9.0xfe", false),
            ("0251.0376.0251.0376", false),
            ("169.254.170.23", false),
            ("evil.example", false),
            ("", false),
        ] {
            assert_eq!(is_own_host(Endpoint::Imds, host.as_bytes()), own, "{host}");
        }
        assert!(is_own_host(Endpoint::PodIdentity, b"169.254.170.23"));
        assert!(is_own_host(Endpoint::PodIdentity, b"[fd00:ec2::23]:80"));
        assert!(!is_own_host(Endpoint::PodIdentity, b"instance-data"));
        assert!(!is_own_host(Endpoint::Imds, &[0xff]));
    }
}
