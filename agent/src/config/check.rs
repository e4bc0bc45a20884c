//! What values may be: each bound with its reason where it is not plain. Pure.

use std::net::SocketAddr;
use std::num::NonZeroU16;
use std::path::Path;

use plimsoll_wire::record;
use rustls::pki_types::ServerName;
use tonic::codegen::http::Uri;

use super::Config;
use crate::export::request::is_loopback;

/// A place and what is wrong there.
pub(super) type Wrong = (&'static str, String);

/// A day: whatever should take longer was meant in another unit.
const DAY_S: u64 = 86_400;
const MINUTES_10_MS: u64 = 600_000;

/// Everything that is wrong with the values.
pub(super) fn mistakes(config: &Config) -> Vec<Wrong> {
    let mut wrong = Vec::new();
    between(config, &mut wrong);
    let mut check = |fine: bool, place: &'static str, must: &str| {
        if !fine {
            wrong.push((place, format!("must {must}")));
        }
    };
    check(
        config.node.is_empty() || record::is_node_name(&config.node),
        "node",
        record::MUST_BE_A_NODE_NAME,
    );
    let usage = &config.usage;
    check(
        usage.window_s > 0 && 3600 % usage.window_s == 0,
        "usage.window_s",
        "divide an hour (3600 s) without rest",
    );
    check(
        usage.window_s.saturating_mul(1000) >= usage.interval_ms,
        "usage.window_s",
        "be no shorter than usage.interval_ms",
    );
    for (place, bytes) in [
        (
            "kernel.security_ring_bytes",
            config.kernel.security_ring_bytes,
        ),
        (
            "kernel.process_ring_bytes",
            config.kernel.process_ring_bytes,
        ),
    ] {
        check(
            bytes.is_power_of_two() && (1 << 16..=1 << 28).contains(&bytes),
            place,
            "be a power of two between 65536 and 268435456",
        );
    }
    check(
        config.spool.max_bytes >= 1 << 20,
        "spool.max_bytes",
        "be at least 1048576 (1 MiB)",
    );
    for (place, path) in [
        ("host.proc", &config.host.proc),
        ("host.cgroup", &config.host.cgroup),
        ("spool.path", &config.spool.path),
    ] {
        check(!path.as_os_str().is_empty(), place, "not be empty");
    }
    check(
        config.admin.listen.parse::<SocketAddr>().is_ok(),
        "admin.listen",
        "be an address and port, as 127.0.0.1:9464",
    );
    let server_name = config.export.server_name.as_deref();
    check(
        server_name.is_none_or(|name| ServerName::try_from(name).is_ok()),
        "export.server_name",
        "be the name or address in a certificate, as collector.example",
    );
    if let Some(must) = endpoint(&config.export.endpoint, config.export.insecure) {
        check(false, "export.endpoint", must);
    }
    wrong
}

/// What is wrong with the name that a file without one leaves to NODE_NAME or the host.
pub(super) fn name_from_outside(config: &Config, name: &str) -> Option<Wrong> {
    let is_used = config.node.is_empty() && !record::is_node_name(name);
    is_used.then(|| {
        let must = record::MUST_BE_A_NODE_NAME;
        let what = format!(
            "is not given, and the name from NODE_NAME or the host must {must}, not {name:?}"
        );
        ("node", what)
    })
}

/// Numbers that lie between two bounds.
fn between(config: &Config, wrong: &mut Vec<Wrong>) {
    let (usage, export) = (&config.usage, &config.export);
    let count = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
    for (place, value, least, most) in [
        // Much beyond these no sample counts as a second, and above three the kernel's periods of
        // 100 ms are overwritten before they are read.
        ("usage.interval_ms", usage.interval_ms, 500, 2000),
        ("usage.startup_s", usage.startup_s, 0, DAY_S),
        (
            "usage.memory_stat_every",
            u64::from(usage.memory_stat_every),
            1,
            3600,
        ),
        ("usage.rescan_s", usage.rescan_s, 1, DAY_S),
        (
            "usage.max_containers",
            count(usage.max_containers),
            1,
            100_000,
        ),
        (
            "kernel.max_cgroups",
            u64::from(config.kernel.max_cgroups),
            64,
            1 << 20,
        ),
        (
            "imds.max_connections",
            count(config.imds.max_connections),
            1,
            1 << 20,
        ),
        (
            "imds.response_timeout_ms",
            config.imds.response_timeout_ms,
            1,
            MINUTES_10_MS,
        ),
        (
            "export.batch_records",
            count(export.batch_records),
            1,
            10_000,
        ),
        ("export.timeout_ms", export.timeout_ms, 1, MINUTES_10_MS),
        ("export.drain_ms", export.drain_ms, 0, MINUTES_10_MS),
    ] {
        if !(least..=most).contains(&value) {
            wrong.push((place, format!("must lie between {least} and {most}")));
        }
    }
}

/// What an endpoint must be that is not. The value is not part of it: it may hold a password.
fn endpoint(text: &str, insecure: bool) -> Option<&'static str> {
    const URL: &str = "be a URL, as https://host:4317";
    if has_user(text) {
        return Some("have no user and no password: the collector knows an agent by its token");
    }
    let Ok(uri) = text.parse::<Uri>() else {
        return Some(URL);
    };
    let (Some(scheme), Some(host), Some(authority)) =
        (uri.scheme_str(), uri.host(), uri.authority())
    else {
        return Some(URL);
    };
    if host.is_empty() || !matches!(scheme, "http" | "https") {
        return Some(URL);
    }
    // Whoever connects takes a port that is none for that of the scheme, 80 or 443.
    let port = authority.as_str().strip_prefix(host).unwrap_or_default();
    match port.strip_prefix(':').filter(|port| !port.is_empty()) {
        None => return Some("have a port: the usual one is 4317"),
        Some(port) if port.parse::<NonZeroU16>().is_err() => {
            return Some("have a port between 1 and 65535");
        }
        Some(_) => {}
    }
    if !matches!(uri.path(), "" | "/") || uri.query().is_some() {
        return Some("have no path: OTLP over gRPC has its own");
    }
    let plain_to_another = scheme == "http" && !is_loopback(host) && !insecure;
    plain_to_another
        .then_some("be https:// to another machine, unless export.insecure permits plain text")
}

/// Whether a URL has user information before its host.
fn has_user(url: &str) -> bool {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or(rest);
    authority.contains('@')
}

/// What a path that the configuration names must lead to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Named {
    /// A bearer token, text in one line.
    Token,
    /// Certificates of authorities, PEM.
    Authorities,
    /// A mount of procfs.
    Procfs,
    /// The folder below which cgroups are mounted.
    Cgroups,
    /// The folder of the spool, which need not be there.
    Spool,
}

/// A setting that names a file or folder, what it is to be, and its path.
type Naming<'a> = (&'static str, Named, &'a Path, &'static str);

/// All that the settings name on this host.
pub(super) fn named(config: &Config) -> impl Iterator<Item = Naming<'_>> {
    let (host, export) = (&config.host, &config.export);
    let all = [
        (
            "host.proc",
            Named::Procfs,
            Some(&host.proc),
            "be where the host's procfs is mounted",
        ),
        (
            "host.cgroup",
            Named::Cgroups,
            Some(&host.cgroup),
            "be where the host's cgroups are mounted",
        ),
        (
            "spool.path",
            Named::Spool,
            Some(&config.spool.path),
            "be a folder that the agent can write to",
        ),
        (
            "export.token_file",
            Named::Token,
            export.token_file.as_ref(),
            "be a file with a token that can be read",
        ),
        (
            "export.ca_file",
            Named::Authorities,
            export.ca_file.as_ref(),
            "be a PEM file of certificates that can be read",
        ),
    ];
    all.into_iter().filter_map(|(place, named, path, must)| {
        let path = path.filter(|path| !path.as_os_str().is_empty())?;
        Some((place, named, path.as_path(), must))
    })
}

/// What is named and cannot be used, and what is not named and cannot be done without.
pub(super) fn files(
    config: &Config,
    look: impl Fn(Named, &Path) -> Result<(), String>,
) -> Vec<Wrong> {
    let export = &config.export;
    let mut wrong = Vec::new();
    for (place, named, path, must) in named(config) {
        if let Err(why) = look(named, path) {
            wrong.push((place, format!("must {must}: {}: {why}", path.display())));
        }
    }
    if export.ca_file.is_none() && export.endpoint.starts_with("https://") {
        // Of one that is wrong any part may be a password.
        let shown = Some(export.endpoint.as_str())
            .filter(|text| endpoint(text, export.insecure).is_none())
            .unwrap_or("an https:// endpoint");
        let what = format!("must be given for {shown}: no authorities are trusted but those in it");
        wrong.push(("export.ca_file", what));
    }
    wrong
}
