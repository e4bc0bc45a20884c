#![expect(
    clippy::disallowed_methods,
    reason = "shell: writes configuration and token files"
)]
//! The configuration files of agent and collector on the stage: loopback, embedded storage.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::net::Ipv4Addr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::ask::Asker;
use super::cluster::{AGENTS, AUDIENCE, Cluster, NAME, PodNetwork};
use super::statefulset::{Given, inside as collector};
use crate::confine::{Bind, Confine};
use crate::enter::Enter;
use crate::pods::NODE;

/// Where the newest audit events are read, as many as the API gives at once.
pub const AUDIT: &str = "/api/v1/audit?limit=5000";

/// What differs from run to run.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Folder of the programs.
    pub programs: PathBuf,
    /// Folder for configuration, state and logs.
    pub dir: PathBuf,
    /// Folder of the collector's data.
    pub data: PathBuf,
    /// The inventory file.
    pub inventory: PathBuf,
    /// Length of a window, seconds.
    pub window_s: u64,
    /// Whether kernel programs may be loaded.
    pub kernel: bool,
    /// Security ring, bytes.
    pub security_ring_bytes: u32,
    /// After which a request counts as unanswered, milliseconds.
    pub response_timeout_ms: u64,
    /// Ports of dashboard, OTLP receiver and agent's metrics.
    pub ports: [u16; 3],
    /// The agent runs as the container of its DaemonSet, and not as a process of the host.
    pub container: Option<Container>,
    /// They are in a cluster: names come from its API server and not from the inventory file, the collector runs
    /// as the container of its StatefulSet, and both its doors have TLS.
    pub cluster: Option<Cluster>,
}

/// The agent's container.
#[derive(Clone, Debug)]
pub struct Container {
    /// Its capabilities, without `CAP_`.
    pub capabilities: Vec<&'static str>,
    /// Folder of its cgroup.
    pub cgroup: PathBuf,
    /// It cannot find out which it has, and tries everything.
    pub capabilities_unknown: bool,
    /// Folders of the host with libraries, for an agent that is linked when it starts.
    pub libraries: Vec<PathBuf>,
}

/// Where the DaemonSet's container sees what it is given.
mod inside {
    pub(super) const PROGRAM: &str = "/plimsoll-agent";
    pub(super) const CONFIG: &str = "/etc/plimsoll/agent.yaml";
    pub(super) const TOKENS: &str = "/var/run/secrets/plimsoll";
    pub(super) const TOKEN: &str = "/var/run/secrets/plimsoll/token";
    pub(super) const AUTHORITY: &str = "/etc/plimsoll/ca/ca.crt";
    pub(super) const PROC: &str = "/host/proc";
    pub(super) const CGROUP: &str = "/host/cgroup";
    pub(super) const TRACING: &str = "/sys/kernel/tracing";
    pub(super) const SPOOL: &str = "/var/lib/plimsoll/agent";
}

/// The files written.
#[derive(Clone, Debug)]
pub struct Files {
    /// For `plimsoll-agent --config`.
    pub agent: PathBuf,
    /// For `plimsoll-collector --config`.
    pub collector: PathBuf,
}

impl Settings {
    /// The usual, with free ports near the usual ones.
    ///
    /// # Errors
    /// No port is free.
    pub fn new(programs: &Path, dir: &Path, inventory: &Path) -> Result<Self> {
        Ok(Self {
            programs: programs.to_owned(),
            dir: dir.to_owned(),
            data: dir.join("collector-state"),
            inventory: inventory.to_owned(),
            window_s: 10,
            kernel: true,
            security_ring_bytes: 1 << 20,
            response_timeout_ms: 2000,
            ports: [
                super::free_port(8080)?,
                super::free_port(4317)?,
                super::free_port(9464)?,
            ],
            container: None,
            cluster: None,
        })
    }

    /// Folder of the files that a SIEM would read: audit events in OCSF, in a chain.
    pub fn siem(&self) -> PathBuf {
        self.dir.join("siem")
    }

    fn token(&self) -> PathBuf {
        self.dir.join("token")
    }

    fn spool(&self) -> PathBuf {
        self.dir.join("agent-state")
    }

    /// What the collector's container is given.
    fn given(&self) -> Given<'_> {
        Given {
            root: self.dir.join("collector-root"),
            program: self.programs.join("plimsoll-collector"),
            config: self.dir.join("collector.yaml"),
            data: &self.data,
        }
    }

    /// The collector as a process, in a container if it is in a cluster.
    pub(super) fn collector(&self) -> Enter {
        if let Some(cluster) = &self.cluster {
            return cluster.collector.enter(self.given(), cluster);
        }
        let file = self.dir.join("collector.yaml");
        Enter {
            cgroup: None,
            netns: None,
            program: Some(self.programs.join("plimsoll-collector")),
            command: vec!["--config".to_owned(), file.display().to_string()],
        }
    }

    /// The agent as a process, with its arguments.
    pub(super) fn agent(&self, arguments: &[&str]) -> Enter {
        let program = self.programs.join("plimsoll-agent");
        let file = self.dir.join("agent.yaml");
        let words = |config: &Path| {
            let config = ["--config".to_owned(), config.display().to_string()];
            let words = arguments.iter().map(|&word| word.to_owned());
            config.into_iter().chain(words).collect::<Vec<String>>()
        };
        let Some(container) = &self.container else {
            return Enter {
                cgroup: None,
                netns: None,
                program: Some(program),
                command: words(&file),
            };
        };
        let mut command = vec![inside::PROGRAM.to_owned()];
        command.extend(words(Path::new(inside::CONFIG)));
        let root = self.dir.join("agent-root");
        let mut confine = Confine::new(root, &container.capabilities, command);
        confine.read = vec![
            Bind::new(file, inside::CONFIG),
            Bind::new("/proc", inside::PROC),
            Bind::new("/sys/fs/cgroup", inside::CGROUP),
            Bind::new("/sys/kernel/tracing", inside::TRACING),
        ];
        match &self.cluster {
            None => confine.read.push(Bind::new(self.token(), inside::TOKEN)),
            Some(cluster) => confine.read.extend([
                Bind::new(cluster.token.folder(), inside::TOKENS),
                Bind::new(&cluster.certificate.authority, inside::AUTHORITY),
            ]),
        }
        if container.capabilities_unknown {
            // Where it reads of its own: it is process 1.
            confine.read.push(Bind::new("/dev/null", "/proc/1/status"));
        }
        confine.run = vec![Bind::new(program, inside::PROGRAM)];
        let libraries = container.libraries.iter();
        confine
            .run
            .extend(libraries.map(|folder| Bind::new(folder, folder)));
        confine.write = vec![Bind::new(self.spool(), inside::SPOOL)];
        Enter {
            cgroup: Some(container.cgroup.clone()),
            netns: self.network().map(|network| network.namespace.clone()),
            program: None,
            command: confine.words(),
        }
    }

    pub(super) fn collector_url(&self, path: &str) -> String {
        let scheme = if self.cluster.is_some() {
            "https"
        } else {
            "http"
        };
        format!("{scheme}://127.0.0.1:{}{path}", self.ports[0])
    }

    /// How the collector is asked: by somebody who sees everything.
    pub(super) fn reader(&self) -> Asker {
        let cluster = self.cluster.as_ref();
        Asker {
            authority: cluster.map(|cluster| cluster.certificate.authority.clone()),
            token: cluster.map(|cluster| cluster.reader.clone()),
        }
    }

    /// Where the collector writes audit files.
    pub(super) fn audit_folder(&self) -> PathBuf {
        self.data.join("audit")
    }

    pub(super) fn agent_url(&self, path: &str) -> String {
        let agent = self.network().map_or(Ipv4Addr::LOCALHOST, |it| it.agent);
        format!("http://{agent}:{}{path}", self.ports[2])
    }

    fn network(&self) -> Option<&PodNetwork> {
        self.cluster.as_ref()?.network.as_ref()
    }

    /// Whoever is in another network must reach it.
    fn listen(&self, port: u16) -> String {
        let address = match self.network() {
            Some(_) => Ipv4Addr::UNSPECIFIED,
            None => Ipv4Addr::LOCALHOST,
        };
        format!("{address}:{port}")
    }

    /// Writes both files and the token that they share. JSON is YAML.
    pub(super) fn write(&self) -> Result<Files> {
        let secret: String = (0..32).map(|_| fastrand::alphanumeric()).collect();
        std::fs::create_dir_all(self.dir.join("agent-root")).context("making the agent's root")?;
        std::fs::create_dir_all(self.spool()).context("making the agent's spool")?;
        write(&self.token(), &secret)?;
        let files = Files {
            agent: self.dir.join("agent.yaml"),
            collector: self.dir.join("collector.yaml"),
        };
        write(&files.agent, &format!("{:#}\n", self.agent_config()))?;
        self.write_collector()?;
        Ok(files)
    }

    /// Writes the collector's file alone.
    pub(super) fn write_collector(&self) -> Result<()> {
        let file = self.dir.join("collector.yaml");
        write(&file, &format!("{:#}\n", self.collector_config()))?;
        self.cluster.as_ref().map_or(Ok(()), |cluster| {
            cluster.collector.hand_over(&self.given(), cluster)
        })
    }

    fn agent_config(&self) -> Value {
        let [_, otlp, admin] = self.ports;
        let spool = match self.container {
            Some(_) => inside::SPOOL.into(),
            None => self.spool(),
        };
        let mut agent = json!({
            "node": NODE,
            "usage": {"window_s": self.window_s, "startup_s": 0},
            "kernel": {"enabled": self.kernel, "security_ring_bytes": self.security_ring_bytes},
            "imds": {"response_timeout_ms": self.response_timeout_ms},
            "spool": {"path": spool},
            "export": {"endpoint": format!("http://127.0.0.1:{otlp}"), "token_file": self.token()},
            "admin": {"listen": self.listen(admin)},
        });
        if let Some(cluster) = &self.cluster {
            let collector = cluster.network.as_ref();
            let collector = collector.map_or(Ipv4Addr::LOCALHOST, |it| it.collector);
            agent["export"] = json!({
                "endpoint": format!("https://{collector}:{otlp}"),
                "server_name": NAME,
                "token_file": cluster.token.file(),
                "ca_file": cluster.certificate.authority,
            });
        }
        if self.container.is_some() {
            agent["host"] = json!({"proc": inside::PROC, "cgroup": inside::CGROUP});
            agent["export"]["token_file"] = inside::TOKEN.into();
            if self.cluster.is_some() {
                agent["export"]["ca_file"] = inside::AUTHORITY.into();
            }
        }
        agent
    }

    fn collector_config(&self) -> Value {
        let [http, otlp, _] = self.ports;
        let [http, otlp] = [http, otlp].map(|port| self.listen(port));
        let Some(cluster) = &self.cluster else {
            return json!({
                "data": {"path": self.data},
                "ingest": {"listen": otlp, "tokens": [{"node": NODE, "file": self.token()}]},
                "http": {"listen": http},
                "inventory": {"paths": [self.inventory], "reload_s": 1},
                "sinks": [{"name": "siem", "file": {"path": self.siem()}}],
            });
        };
        json!({
            "data": {"path": collector::DATA},
            "kubernetes": {"watch": true, "kubeconfig": collector::KUBECONFIG},
            "ingest": {
                "listen": otlp,
                "tls_cert_file": collector::CERTIFICATE,
                "tls_key_file": collector::KEY,
                "token_review": {"audience": AUDIENCE, "service_accounts": [AGENTS]},
            },
            "http": {
                "listen": http,
                "tls_cert_file": collector::CERTIFICATE,
                "tls_key_file": collector::KEY,
                "access": "kubernetes",
            },
            "audit_file": {"name_wait_s": cluster.name_wait_s},
        })
    }
}

/// For the owner alone: one of them is a secret.
pub(super) fn write(path: &Path, text: &str) -> Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let written = options
        .open(path)
        .and_then(|mut file| file.write_all(text.as_bytes()));
    written.with_context(|| format!("writing {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_programs_take_what_is_written() {
        let dir = tempfile::tempdir().unwrap();
        let settings = Settings {
            ports: [8080, 4317, 9464],
            ..Settings::new(dir.path(), dir.path(), Path::new("/objects.yaml")).unwrap()
        };
        let files = settings.write().unwrap();
        let agent = std::fs::read_to_string(&files.agent).unwrap();
        let agent = plimsoll_agent::config::Config::parse("agent.yaml", &agent).unwrap();
        assert_eq!((agent.node.as_str(), agent.usage.window_s), (NODE, 10));
        let collector = std::fs::read_to_string(&files.collector).unwrap();
        let collector =
            plimsoll_collector::config::Config::parse("collector.yaml", &collector).unwrap();
        assert_eq!(collector.ingest.tokens.len(), 1);
        assert_eq!(
            Some(&collector.ingest.tokens[0].file),
            agent.export.token_file.as_ref()
        );
    }
}
