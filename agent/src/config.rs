//! The agent's configuration: YAML text in, a checked [`Config`] or every mistake at once out.
//!
//! Knows no file and no environment: the path is only used to name the place of a mistake.
//! `docs/configuration.md` is generated from [`DOCUMENTED`], which a test parses back.

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

/// Every setting with its default and meaning; parses to [`Config::default`].
pub const DOCUMENTED: &str = include_str!("config/default.yaml");

/// The configuration text cannot be used. Displayed as one line per mistake.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.join("\n"))]
pub struct ConfigError(pub Vec<String>);

/// What the agent was told. All bounds are here, so that each has a name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Name of this node (`spec.nodeName`); taken from `NODE_NAME` or the host name when empty.
    pub node: String,
    /// Host paths.
    pub host: Host,
    /// Sampling of containers.
    pub usage: Usage,
    /// Kernel programs.
    pub kernel: Kernel,
    /// Metadata audit.
    pub imds: Imds,
    /// Durable buffer.
    pub spool: Spool,
    /// Way to the collector.
    pub export: Export,
    /// Health and metrics endpoint.
    pub admin: Admin,
}

/// Where the host's trees are seen from the agent.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Host {
    /// The host's procfs (`/host/proc` in a pod).
    pub proc: PathBuf,
    /// The host's cgroup mount; the v2 tree is found below it (`/sys/fs/cgroup` or its `unified`).
    pub cgroup: PathBuf,
}

/// How usage is sampled and summed up.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Usage {
    /// Time between samples, milliseconds.
    pub interval_ms: u64,
    /// Length of a window, seconds; divides an hour.
    pub window_s: u64,
    /// Age up to which a container counts as starting, seconds.
    pub startup_s: u64,
    /// `memory.stat` is read every this many samples, or sooner when memory moves.
    pub memory_stat_every: u32,
    /// Time between walks of the cgroup tree that catch what events missed, seconds.
    pub rescan_s: u64,
    /// Containers sampled at the most.
    pub max_containers: usize,
}

/// Which kernel programs may run, and their bounds.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Kernel {
    /// `false` runs on cgroup files and procfs alone.
    pub enabled: bool,
    /// Security ring, bytes, a power of two and a multiple of the page size.
    pub security_ring_bytes: u32,
    /// Process ring, bytes, likewise.
    pub process_ring_bytes: u32,
    /// cgroups whose CPU time is kept in the kernel.
    pub max_cgroups: u32,
}

/// Bounds of the metadata audit.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Imds {
    /// Connections followed at a time.
    pub max_connections: usize,
    /// Time after which an unanswered request is reported so, milliseconds.
    pub response_timeout_ms: u64,
}

/// The durable buffer.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Spool {
    /// Folder, made if absent.
    pub path: PathBuf,
    /// Bytes on disk at the most; usage is shed before security.
    pub max_bytes: u64,
}

/// The collector and how to speak to it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Export {
    /// `https://host:port`; `http://` only to loopback unless `insecure`.
    pub endpoint: String,
    /// File with the bearer token; re-read when the collector refuses it.
    pub token_file: Option<PathBuf>,
    /// PEM file of the only authorities that are trusted.
    pub ca_file: Option<PathBuf>,
    /// Name that the collector's certificate must have, if not the endpoint's host.
    pub server_name: Option<String>,
    /// Permits plain text to other machines.
    pub insecure: bool,
    /// Records in one request at the most.
    pub batch_records: usize,
    /// Time that one request may take, milliseconds.
    pub timeout_ms: u64,
    /// Time that the last export may take at shutdown, milliseconds.
    pub drain_ms: u64,
}

/// Health, readiness and metrics.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Admin {
    /// Address and port to listen on.
    pub listen: String,
}

impl Default for Host {
    fn default() -> Self {
        Self {
            proc: "/proc".into(),
            cgroup: "/sys/fs/cgroup".into(),
        }
    }
}

impl Default for Usage {
    fn default() -> Self {
        Self {
            interval_ms: 1000,
            window_s: 60,
            startup_s: 120,
            memory_stat_every: 5,
            rescan_s: 30,
            max_containers: 2048,
        }
    }
}

impl Default for Kernel {
    fn default() -> Self {
        Self {
            enabled: true,
            security_ring_bytes: 1 << 20,
            process_ring_bytes: 1 << 19,
            max_cgroups: 4096,
        }
    }
}

impl Default for Imds {
    fn default() -> Self {
        Self {
            max_connections: 4096,
            response_timeout_ms: 2000,
        }
    }
}

impl Default for Spool {
    fn default() -> Self {
        Self {
            path: "/var/lib/plimsoll/agent".into(),
            max_bytes: 256 << 20,
        }
    }
}

impl Default for Export {
    fn default() -> Self {
        Self {
            endpoint: "https://plimsoll-collector.plimsoll.svc:4317".into(),
            token_file: None,
            ca_file: None,
            server_name: None,
            insecure: false,
            batch_records: 512,
            timeout_ms: 10_000,
            drain_ms: 5_000,
        }
    }
}

impl Default for Admin {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:9464".into(),
        }
    }
}

impl Config {
    /// Parses and checks a whole configuration text.
    ///
    /// # Errors
    /// Every mistake, each as `name: place: what is wrong`. A text that is not YAML of the right
    /// shape yields the one mistake at which reading had to stop.
    pub fn parse(name: &str, text: &str) -> Result<Self, ConfigError> {
        let config: Self = if text.trim().is_empty() {
            Self::default()
        } else {
            serde_saphyr::from_str(text)
                .map_err(|error| ConfigError(vec![format!("{name}: {error}")]))?
        };
        let mistakes: Vec<String> = config
            .mistakes()
            .into_iter()
            .map(|mistake| format!("{name}: {mistake}"))
            .collect();
        if mistakes.is_empty() {
            Ok(config)
        } else {
            Err(ConfigError(mistakes))
        }
    }

    /// Length of a window.
    pub const fn window(&self) -> Duration {
        Duration::from_secs(self.usage.window_s)
    }

    fn mistakes(&self) -> Vec<String> {
        let mut mistakes = Vec::new();
        let mut check = |fine: bool, place: &str, must: &str| {
            if !fine {
                mistakes.push(format!("{place}: must {must}"));
            }
        };
        let usage = &self.usage;
        check(
            (100..=60_000).contains(&usage.interval_ms),
            "usage.interval_ms",
            "lie between 100 and 60000",
        );
        check(
            usage.window_s > 0 && 3600 % usage.window_s == 0,
            "usage.window_s",
            "divide an hour (3600 s) without rest",
        );
        check(
            usage.window_s * 1000 >= usage.interval_ms,
            "usage.window_s",
            "be no shorter than usage.interval_ms",
        );
        check(
            usage.memory_stat_every > 0,
            "usage.memory_stat_every",
            "be at least 1",
        );
        check(usage.rescan_s > 0, "usage.rescan_s", "be at least 1");
        check(
            (1..=100_000).contains(&usage.max_containers),
            "usage.max_containers",
            "lie between 1 and 100000",
        );
        for (place, bytes) in [
            (
                "kernel.security_ring_bytes",
                self.kernel.security_ring_bytes,
            ),
            ("kernel.process_ring_bytes", self.kernel.process_ring_bytes),
        ] {
            check(
                bytes.is_power_of_two() && (1 << 16..=1 << 28).contains(&bytes),
                place,
                "be a power of two between 65536 and 268435456",
            );
        }
        check(
            (64..=1 << 20).contains(&self.kernel.max_cgroups),
            "kernel.max_cgroups",
            "lie between 64 and 1048576",
        );
        check(
            (1..=1 << 20).contains(&self.imds.max_connections),
            "imds.max_connections",
            "lie between 1 and 1048576",
        );
        check(
            self.imds.response_timeout_ms > 0,
            "imds.response_timeout_ms",
            "be at least 1",
        );
        check(
            self.spool.max_bytes >= 1 << 20,
            "spool.max_bytes",
            "be at least 1048576 (1 MiB)",
        );
        check(
            (1..=10_000).contains(&self.export.batch_records),
            "export.batch_records",
            "lie between 1 and 10000",
        );
        check(
            self.export.timeout_ms > 0,
            "export.timeout_ms",
            "be at least 1",
        );
        check(
            self.admin.listen.parse::<std::net::SocketAddr>().is_ok(),
            "admin.listen",
            "be an address and port, as 127.0.0.1:9464",
        );
        mistakes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expect: &[&str]) {
        let said = match Config::parse("agent.yaml", text) {
            Ok(_) => Vec::new(),
            Err(ConfigError(lines)) => lines,
        };
        assert_eq!(said.len(), expect.len(), "{said:#?}");
        for (said, expect) in said.iter().zip(expect) {
            assert!(said.contains(expect), "{said:?} does not say {expect:?}");
        }
    }

    #[test]
    fn the_documented_file_is_the_default() {
        assert_eq!(
            Config::parse("default.yaml", DOCUMENTED).unwrap(),
            Config::default()
        );
        assert_eq!(Config::parse("empty.yaml", "").unwrap(), Config::default());
    }

    #[test]
    fn mistakes_come_all_at_once_with_their_place() {
        check("node: a\n", &[]);
        check(
            "usage: { interval_ms: 1, window_s: 7 }\nspool: { max_bytes: 5 }\n",
            &[
                "agent.yaml: usage.interval_ms: must lie",
                "usage.window_s: must divide",
                "spool.max_bytes: must be at least",
            ],
        );
        check("usage:\n  intervall_ms: 5\n", &["intervall_ms"]);
        check("usage: [", &["agent.yaml"]);
        check("usage: { interval_ms: many }", &["agent.yaml"]);
    }
}
