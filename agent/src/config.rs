//! The agent's configuration: YAML text in, a checked [`Config`] or every mistake at once out.
//!
//! Knows no file and no environment: the path is only used to name the place of a mistake, and whether
//! what it names can be used is asked of the caller ([`file`]). `settings` finds lines and
//! mistakes of shape, `check` mistakes of value.
//! `docs/configuration.md` is generated from [`DOCUMENTED`], which a test parses back.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

mod check;
pub mod file;

pub use check::Named;
pub use plimsoll_settings::ConfigError;
use plimsoll_settings::{Layout, names_of};

/// Every setting with its default and meaning; parses to [`Config::default`].
pub const DOCUMENTED: &str = include_str!("config/default.yaml");

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
    /// File with the bearer token; read before each request, so that a renewed one counts at once.
    pub token_file: Option<PathBuf>,
    /// PEM file of the only authorities that are trusted; read before each request, and a change makes a
    /// new connection.
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
    /// Parses and checks a whole configuration text, for itself: what it names is not looked at.
    ///
    /// # Errors
    /// Every mistake, each as `name:line: place: what is wrong`. A text that is no YAML yields the one
    /// mistake at which reading had to stop.
    pub fn parse(name: &str, text: &str) -> Result<Self, ConfigError> {
        Self::read(name, text, check::mistakes)
    }

    /// [`parse`](Self::parse), and asks of each path that it names whether it can be used: `Err` says
    /// why not. `outside` is the node's name where the text gives none.
    ///
    /// # Errors
    /// Likewise.
    pub fn parse_with_files(
        name: &str,
        text: &str,
        outside: &str,
        look: impl Fn(Named, &Path) -> Result<(), String>,
    ) -> Result<Self, ConfigError> {
        Self::read(name, text, |config| {
            let mut wrong = check::mistakes(config);
            wrong.extend(check::name_from_outside(config, outside));
            wrong.extend(check::files(config, look));
            wrong
        })
    }

    fn read(
        name: &str,
        text: &str,
        check: impl FnOnce(&Self) -> Vec<check::Wrong>,
    ) -> Result<Self, ConfigError> {
        let layout = Layout {
            top: &["node"],
            sections: &sections(),
            lists: &[],
        };
        plimsoll_settings::read(name, text, layout, |config| {
            let wrong = check(config).into_iter();
            wrong
                .map(|(place, what)| (place.to_owned(), what))
                .collect()
        })
    }

    /// Length of a window.
    pub const fn window(&self) -> Duration {
        Duration::from_secs(self.usage.window_s)
    }
}

fn sections() -> [(&'static str, &'static [&'static str]); 7] {
    [
        ("host", names_of::<Host>()),
        ("usage", names_of::<Usage>()),
        ("kernel", names_of::<Kernel>()),
        ("imds", names_of::<Imds>()),
        ("spool", names_of::<Spool>()),
        ("export", names_of::<Export>()),
        ("admin", names_of::<Admin>()),
    ]
}

#[cfg(test)]
mod tests;
