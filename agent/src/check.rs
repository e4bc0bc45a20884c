//! `plimsoll-agent check`: what the agent would do on this host, without doing any of it.
//!
//! Facts and a plan in, a document and its text out; pure but for [`of_this_host`]. That a program is to be
//! attached does not say that the kernel will take it: the verifier has the last word, at the start.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::books;
use crate::cgroup::fs::Roots;
use crate::config::{self, Config};
use crate::host::facts::{Capability, Hidden, HostFacts, Lockdown};
use crate::host::plan::Action;
use crate::host::{self, AttachPlan};
use crate::probe;

const SCHEMA: &str = "plimsoll.agent-check/v1";
/// Capabilities that something in the agent needs.
const CAPABILITIES: [Capability; 4] = [
    Capability::Bpf,
    Capability::Perfmon,
    Capability::NetAdmin,
    Capability::SysPtrace,
];

/// The document. What is null could not be found out, which is no finding.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    schema: &'static str,
    /// Version of the agent.
    version: &'static str,
    host: Host,
    /// In the order in which they are attached.
    programs: Vec<Program>,
    /// What the settings name on this host.
    files: Vec<NamedFile>,
    /// What will not be seen on this host, or not as well, and why.
    missing: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Host {
    kernel: Option<String>,
    cgroup: Cgroup,
    /// The kernel's BTF has the raw tracepoint of the scheduler; null without BTF.
    btf_sched_switch: Option<bool>,
    tracefs: Option<PathBuf>,
    /// Tracepoints whose layout is known, `category/name`.
    tracepoints: Vec<String>,
    lockdown: Option<&'static str>,
    bpf_jit_harden: Option<u8>,
    /// From 3 on Debian's and Ubuntu's kernels attach no tracepoints without `CAP_SYS_ADMIN`.
    perf_event_paranoid: Option<i32>,
    /// Those that the agent needs, and whether this process has them.
    capabilities: Option<BTreeMap<String, bool>>,
    /// How many it has beside them, of no use to the agent.
    other_capabilities: Option<u32>,
    cgroup_labels: Labels,
    /// Of the facts above, those that there may be and that are not visible here.
    not_visible_here: Vec<&'static str>,
}

/// SELinux labels of the cgroup tree.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Labels {
    /// Of its root; null where files have none.
    root: Option<String>,
    /// Folders with a container's label, which no system gives them.
    of_containers: BTreeMap<String, String>,
}

/// A file or folder that a setting names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct NamedFile {
    setting: &'static str,
    path: PathBuf,
    /// Why it cannot be used as it is meant to be; null if it can.
    problem: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Cgroup {
    mode: String,
    /// Root of the v2 hierarchy.
    v2: Option<PathBuf>,
    /// That root has a parent: what runs outside it is not seen.
    v2_is_part: bool,
    v2_controllers: Vec<String>,
    /// Mount points of v1 controllers.
    v1: BTreeMap<String, PathBuf>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Program {
    name: String,
    /// `attach` or `skip`.
    action: &'static str,
    /// Why it is skipped.
    reason: Option<String>,
}

/// Looks at this host.
pub fn of_this_host(config: &Config) -> Check {
    let cgroup: &Path = &config.host.cgroup;
    let facts = host::read::facts(cgroup);
    let absent = if config.kernel.enabled {
        probe::built_without().map(|why| format!("built without them: {why}"))
    } else {
        Some("switched off by configuration".to_owned())
    };
    let sources = books::missing_sources(&Roots::find(cgroup), &facts);
    let files = config::file::look_at_named(config);
    let files = files.into_iter().map(|(setting, path, problem)| NamedFile {
        setting,
        path,
        problem,
    });
    Check::new(&facts, &host::plan(&facts), absent.as_deref(), sources).with(files.collect())
}

impl Check {
    /// `absent`: why there are no kernel programs at all, whatever the plan says; `sources`: what files
    /// do not tell here.
    fn new(
        facts: &HostFacts,
        plan: &AttachPlan,
        absent: Option<&str>,
        sources: Vec<String>,
    ) -> Self {
        let planned = plan.programs.iter().map(|planned| {
            let reason = match (&planned.action, absent) {
                (Action::Skip(reason), _) => Some(reason.to_string()),
                (Action::Attach, Some(absent)) => Some(absent.to_owned()),
                (Action::Attach, None) => None,
            };
            Program {
                name: planned.name.to_string(),
                action: if reason.is_none() { "attach" } else { "skip" },
                reason,
            }
        });
        let programs: Vec<Program> = planned.collect();
        let reasons = plan.programs.iter().zip(&programs);
        let reasons =
            reasons.filter_map(|(planned, told)| Some((planned.name, told.reason.clone()?)));
        let mut missing = probe::missing(&reasons.collect::<Vec<_>>());
        missing.extend(sources);
        missing.extend(facts.cgroup_labels.finding());
        Self {
            schema: SCHEMA,
            version: env!("CARGO_PKG_VERSION"),
            host: Host::new(facts),
            programs,
            files: Vec::new(),
            missing,
        }
    }

    /// What is named and cannot be used is missing.
    fn with(mut self, files: Vec<NamedFile>) -> Self {
        let told = files.iter().filter_map(|file| {
            let problem = file.problem.as_ref()?;
            Some(format!(
                "{} {}: {problem}",
                file.setting,
                file.path.display()
            ))
        });
        self.missing.extend(told);
        self.files = files;
        self
    }

    /// Nothing is missing.
    pub const fn is_complete(&self) -> bool {
        self.missing.is_empty()
    }
}

impl Host {
    fn new(facts: &HostFacts) -> Self {
        let cgroup = &facts.cgroup;
        let has = |capability: Capability| {
            let allowed = facts.capabilities?.allow(capability);
            Some((capability.to_string(), allowed))
        };
        Self {
            kernel: facts.kernel_release.clone(),
            cgroup: Cgroup {
                mode: cgroup.mode.to_string(),
                v2: cgroup.v2.clone(),
                v2_is_part: cgroup.v2_is_part,
                v2_controllers: cgroup.v2_controllers.iter().cloned().collect(),
                v1: cgroup.v1.clone(),
            },
            btf_sched_switch: facts.types.map(|types| types.sched_switch),
            tracefs: facts.tracefs.clone(),
            tracepoints: facts.tracepoints.keys().cloned().collect(),
            lockdown: facts.lockdown.map(|lockdown| match lockdown {
                Lockdown::None => "none",
                Lockdown::Integrity => "integrity",
                Lockdown::Confidentiality => "confidentiality",
            }),
            bpf_jit_harden: facts.jit_harden,
            perf_event_paranoid: facts.perf_event_paranoid,
            capabilities: CAPABILITIES.into_iter().map(has).collect(),
            other_capabilities: facts.capabilities.map(|held| held.beside(&CAPABILITIES)),
            cgroup_labels: Labels {
                root: facts.cgroup_labels.root.clone(),
                of_containers: facts.cgroup_labels.of_containers.iter().cloned().collect(),
            },
            not_visible_here: facts.hidden.iter().map(|fact| fact.as_str()).collect(),
        }
    }
}

/// For people: the same, a line each.
impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNKNOWN: &str = "not known";
        let host = &self.host;
        let unseen = |fact: Hidden| {
            if host.not_visible_here.contains(&fact.as_str()) {
                "not visible here"
            } else {
                UNKNOWN
            }
        };
        let path = |path: &Option<PathBuf>, none: &str| {
            let shown = path.as_ref().map(|path| path.display().to_string());
            shown.unwrap_or_else(|| none.to_owned())
        };
        let list = |words: &[String]| match words {
            [] => "none".to_owned(),
            some => some.join(" "),
        };
        let yes = |is: bool| if is { "yes" } else { "no" };
        let capabilities = host.capabilities.as_ref().map(|all| {
            let words = all
                .iter()
                .map(|(name, has)| format!("{name}: {}", yes(*has)));
            let others = host.other_capabilities.unwrap_or(0);
            let others = (others > 0).then(|| format!("and {others} that it does not need"));
            words.chain(others).collect::<Vec<_>>().join(", ")
        });
        let label = host.cgroup_labels.root.as_deref();
        let cgroup = &host.cgroup;
        let mut v1: Vec<String> = cgroup.v1.keys().cloned().collect();
        v1.sort_unstable();
        let paranoid = host.perf_event_paranoid.map(|level| level.to_string());
        let harden = host.bpf_jit_harden.map(|level| level.to_string());
        for (what, how) in [
            ("agent", self.version.to_owned()),
            ("kernel", host.kernel.clone().unwrap_or(UNKNOWN.to_owned())),
            ("cgroups", cgroup.mode.clone()),
            ("  v2 root", path(&cgroup.v2, "not mounted")),
            ("  v2 controllers", list(&cgroup.v2_controllers)),
            ("  v1 controllers", list(&v1)),
            (
                "BTF of the scheduler",
                host.btf_sched_switch.map_or(UNKNOWN, yes).to_owned(),
            ),
            ("tracefs", path(&host.tracefs, "not mounted")),
            ("tracepoints", list(&host.tracepoints)),
            (
                "lockdown",
                host.lockdown.unwrap_or(unseen(Hidden::Lockdown)).to_owned(),
            ),
            (
                "bpf_jit_harden",
                harden.unwrap_or(unseen(Hidden::JitHarden).to_owned()),
            ),
            (
                "perf_event_paranoid",
                paranoid.unwrap_or(UNKNOWN.to_owned()),
            ),
            ("capabilities", capabilities.unwrap_or(UNKNOWN.to_owned())),
            ("SELinux, cgroups", label.unwrap_or("no label").to_owned()),
        ] {
            writeln!(f, "{what:<22}{how}")?;
        }
        f.write_char('\n')?;
        for file in &self.files {
            let problem = file.problem.as_deref().unwrap_or("usable");
            writeln!(f, "{:<22}{}: {problem}", file.setting, file.path.display())?;
        }
        f.write_char('\n')?;
        for program in &self.programs {
            let reason = program.reason.as_deref().unwrap_or_default();
            let line = format!("{:<22}{:<8}{reason}", program.name, program.action);
            writeln!(f, "{}", line.trim_end())?;
        }
        f.write_char('\n')?;
        if self.missing.is_empty() {
            writeln!(f, "Nothing is missing.")?;
        }
        for missing in &self.missing {
            writeln!(f, "missing: {missing}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
