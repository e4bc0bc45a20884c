//! From facts to what is attached: one pure function.
//!
//! A program is left out only for a fact that is known; what is not known is tried, and the kernel
//! has the last word. Removing one fact removes what depends on it and nothing else.

use std::path::PathBuf;

use super::facts::{Capability, HostFacts, Lockdown};
use crate::probe::program::{Hook, ProgramName};

/// What the loader executes without choosing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttachPlan {
    /// Root of the v2 hierarchy, for the programs that are attached to it.
    pub cgroup_root: Option<PathBuf>,
    /// Where this kernel keeps its fields.
    pub settings: Settings,
    /// Every program, in the order in which they are attached.
    pub programs: Vec<Planned>,
}

impl AttachPlan {
    /// What happens to a program.
    #[cfg(test)]
    fn action(&self, name: ProgramName) -> Option<&Action> {
        self.programs
            .iter()
            .find(|planned| planned.name == name)
            .map(|planned| &planned.action)
    }

    /// Why not one program is to be attached, each reason once; `None` if one is.
    pub fn nothing_to_attach(&self) -> Option<String> {
        let mut reasons: Vec<String> = Vec::new();
        for planned in &self.programs {
            match &planned.action {
                // Not attached, but run on demand: of no use without the others.
                Action::Attach if planned.name.hook() == Hook::OnDemand => {}
                Action::Attach => return None,
                Action::Skip(reason) => {
                    let reason = reason.to_string();
                    if !reasons.contains(&reason) {
                        reasons.push(reason);
                    }
                }
            }
        }
        Some(reasons.join("; "))
    }
}

/// One program and what happens to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Planned {
    /// Which.
    pub name: ProgramName,
    /// What.
    pub action: Action,
}

/// What happens to a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// It is loaded and attached to its hook.
    Attach,
    /// It is left out.
    Skip(SkipReason),
}

/// Why a program is left out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SkipReason {
    /// The cgroup v2 hierarchy is not mounted there.
    #[error("no cgroup v2 hierarchy is mounted at host.cgroup")]
    NoCgroup2,
    /// A capability is missing.
    #[error("{0} is missing")]
    NoCapability(Capability),
    /// Lockdown forbids what the program does.
    #[error("lockdown=confidentiality forbids reading kernel memory")]
    Lockdown,
    /// tracefs is not mounted, so that no tracepoint's layout is known.
    #[error("tracefs is not mounted")]
    NoTracefs,
    /// tracefs is mounted, and has no files.
    #[error("tracefs is empty, as lockdown=confidentiality makes it")]
    TracefsEmpty,
    /// The kernel has no such tracepoint.
    #[error("the kernel has no tracepoint {0}")]
    NoTracepoint(String),
    /// The tracepoint lacks a field, or it has another shape.
    #[error("tracepoint {event} has no field {field} of the expected shape")]
    NoField {
        /// `category/name`.
        event: String,
        /// Name of the field.
        field: &'static str,
    },
}

/// The read-only globals of the programs: see `ebpf/src/settings.rs`. [`ABSENT`] where unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Fields of `cgroup_mkdir` and `cgroup_rmdir`.
    pub cgroup_root: u32,
    /// Likewise.
    pub cgroup_level: u32,
    /// Likewise.
    pub cgroup_id: u32,
    /// Likewise.
    pub cgroup_path: u32,
    /// Fields of `mark_victim`.
    pub oom_pid: u32,
    /// Likewise; not in every kernel, like the ones below.
    pub oom_comm: u32,
    /// Likewise.
    pub oom_total_vm: u32,
    /// Likewise.
    pub oom_anon_rss: u32,
    /// Likewise.
    pub oom_file_rss: u32,
    /// Likewise.
    pub oom_shmem_rss: u32,
}

/// The kernel does not have the field.
pub const ABSENT: u32 = u32::MAX;

impl Default for Settings {
    fn default() -> Self {
        Self {
            cgroup_root: ABSENT,
            cgroup_level: ABSENT,
            cgroup_id: ABSENT,
            cgroup_path: ABSENT,
            oom_pid: ABSENT,
            oom_comm: ABSENT,
            oom_total_vm: ABSENT,
            oom_anon_rss: ABSENT,
            oom_file_rss: ABSENT,
            oom_shmem_rss: ABSENT,
        }
    }
}

impl Settings {
    /// Names and values of the globals, as the object has them.
    pub fn globals(&self) -> [(&'static str, &u32); 10] {
        [
            ("CGROUP_ROOT", &self.cgroup_root),
            ("CGROUP_LEVEL", &self.cgroup_level),
            ("CGROUP_ID", &self.cgroup_id),
            ("CGROUP_PATH", &self.cgroup_path),
            ("OOM_PID", &self.oom_pid),
            ("OOM_COMM", &self.oom_comm),
            ("OOM_TOTAL_VM", &self.oom_total_vm),
            ("OOM_ANON_RSS", &self.oom_anon_rss),
            ("OOM_FILE_RSS", &self.oom_file_rss),
            ("OOM_SHMEM_RSS", &self.oom_shmem_rss),
        ]
    }
}

/// Decides what is attached on a host.
pub fn plan(facts: &HostFacts) -> AttachPlan {
    let programs = ProgramName::ALL
        .into_iter()
        .map(|name| Planned {
            name,
            action: obstacle(facts, name).map_or(Action::Attach, Action::Skip),
        })
        .collect();
    AttachPlan {
        cgroup_root: facts.cgroup.v2.clone(),
        settings: settings(facts),
        programs,
    }
}

/// The first thing that stands against a program.
fn obstacle(facts: &HostFacts, name: ProgramName) -> Option<SkipReason> {
    match name {
        ProgramName::Connect4
        | ProgramName::Connect6
        | ProgramName::PacketEgress
        | ProgramName::PacketIngress => missing_capability(facts, Capability::NetAdmin)
            // Without it the verifier takes no arithmetic with pointers of several bounds ("prohibited for
            // !root"), which the packet programs need; the others are of no use without them.
            .or_else(|| missing_capability(facts, Capability::Perfmon))
            .or_else(|| facts.cgroup.v2.is_none().then_some(SkipReason::NoCgroup2)),
        ProgramName::CgroupMkdir => {
            tracing_obstacle(facts).or_else(|| cgroup_event(facts, "cgroup/cgroup_mkdir"))
        }
        ProgramName::CgroupRmdir => {
            tracing_obstacle(facts).or_else(|| cgroup_event(facts, "cgroup/cgroup_rmdir"))
        }
        ProgramName::MarkVictim => tracing_obstacle(facts)
            .or_else(|| event(facts, "oom/mark_victim", &[("pid", Shape::Number(4))])),
        // They read no kernel memory but their arguments, which no mode of lockdown forbids.
        ProgramName::SchedSwitch | ProgramName::Settle => {
            missing_capability(facts, Capability::Perfmon).or_else(|| {
                let lacking = facts.types.is_some_and(|types| !types.sched_switch);
                lacking.then(|| SkipReason::NoTracepoint("sched_switch".to_owned()))
            })
        }
    }
}

/// What all programs need, and one more capability.
fn missing_capability(facts: &HostFacts, also: Capability) -> Option<SkipReason> {
    let capabilities = facts.capabilities?;
    [Capability::Bpf, also]
        .into_iter()
        .find(|capability| !capabilities.allow(*capability))
        .map(SkipReason::NoCapability)
}

/// What stands against reading kernel memory in a tracepoint.
fn tracing_obstacle(facts: &HostFacts) -> Option<SkipReason> {
    missing_capability(facts, Capability::Perfmon).or_else(|| {
        (facts.lockdown == Some(Lockdown::Confidentiality)).then_some(SkipReason::Lockdown)
    })
}

/// The shape that a program expects of a field.
#[derive(Clone, Copy)]
enum Shape {
    Number(u32),
    DataLoc,
}

fn cgroup_event(facts: &HostFacts, name: &str) -> Option<SkipReason> {
    // Before 5.10 `id` was an int that is not the inode: the shape tells.
    let fields = [
        ("root", Shape::Number(4)),
        ("level", Shape::Number(4)),
        ("id", Shape::Number(8)),
        ("path", Shape::DataLoc),
    ];
    event(facts, name, &fields)
}

fn event(facts: &HostFacts, name: &str, fields: &[(&'static str, Shape)]) -> Option<SkipReason> {
    if facts.tracefs.is_none() {
        return Some(SkipReason::NoTracefs);
    }
    let Some(format) = facts.tracepoints.get(name) else {
        if facts.tracefs_empty {
            return Some(SkipReason::TracefsEmpty);
        }
        return Some(SkipReason::NoTracepoint(name.to_owned()));
    };
    let missing = fields.iter().find(|(field, shape)| match shape {
        Shape::Number(size) => format.number(field, *size).is_none(),
        Shape::DataLoc => format.data_loc(field).is_none(),
    });
    missing.map(|(field, _)| SkipReason::NoField {
        event: name.to_owned(),
        field,
    })
}

fn settings(facts: &HostFacts) -> Settings {
    let mut settings = Settings::default();
    // mkdir and rmdir are of one event class and share a layout.
    let cgroup = ["cgroup/cgroup_mkdir", "cgroup/cgroup_rmdir"]
        .iter()
        .find_map(|name| facts.tracepoints.get(*name));
    if let Some(event) = cgroup {
        settings.cgroup_root = event.number("root", 4).unwrap_or(ABSENT);
        settings.cgroup_level = event.number("level", 4).unwrap_or(ABSENT);
        settings.cgroup_id = event.number("id", 8).unwrap_or(ABSENT);
        settings.cgroup_path = event.data_loc("path").unwrap_or(ABSENT);
    }
    if let Some(event) = facts.tracepoints.get("oom/mark_victim") {
        settings.oom_pid = event.number("pid", 4).unwrap_or(ABSENT);
        settings.oom_comm = event.data_loc("comm").unwrap_or(ABSENT);
        settings.oom_total_vm = event.number("total_vm", 8).unwrap_or(ABSENT);
        settings.oom_anon_rss = event.number("anon_rss", 8).unwrap_or(ABSENT);
        settings.oom_file_rss = event.number("file_rss", 8).unwrap_or(ABSENT);
        settings.oom_shmem_rss = event.number("shmem_rss", 8).unwrap_or(ABSENT);
    }
    settings
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::host::{
        facts::{Capabilities, CgroupFacts, CgroupMode, KernelTypes},
        format::EventFormat,
    };
    use ProgramName::{
        CgroupMkdir, CgroupRmdir, Connect4, Connect6, MarkVictim, PacketEgress, PacketIngress,
        SchedSwitch, Settle,
    };

    const CGROUP: &str = "field:int root; offset:8; size:4;\nfield:int level; offset:12; size:4;\n\
        field:u64 id; offset:16; size:8;\nfield:__data_loc char[] path; offset:24; size:4;";
    const VICTIM: &str = "field:int pid; offset:8; size:4;\nfield:__data_loc char[] comm; offset:12; size:4;\n\
        field:unsigned long anon_rss; offset:24; size:8;";
    const IMDS: [ProgramName; 4] = [Connect4, Connect6, PacketEgress, PacketIngress];
    const EVENTS: [ProgramName; 3] = [CgroupMkdir, CgroupRmdir, MarkVictim];

    /// A host that offers everything.
    fn capable() -> HostFacts {
        let tracepoints = [
            ("cgroup/cgroup_mkdir", CGROUP),
            ("cgroup/cgroup_rmdir", CGROUP),
            ("oom/mark_victim", VICTIM),
        ];
        HostFacts {
            cgroup: CgroupFacts {
                mode: CgroupMode::V2,
                v2: Some(PathBuf::from("/c")),
                ..CgroupFacts::default()
            },
            types: Some(KernelTypes { sched_switch: true }),
            tracefs: Some(PathBuf::from("/t")),
            tracepoints: tracepoints
                .into_iter()
                .map(|(name, text)| (name.to_owned(), EventFormat::parse(text).unwrap()))
                .collect(),
            lockdown: Some(Lockdown::Integrity),
            jit_harden: Some(2),
            capabilities: Some(Capabilities::ALL),
            ..HostFacts::default()
        }
    }

    /// Exactly these programs are skipped for exactly this reason; the others are attached.
    #[track_caller]
    fn check(change: impl FnOnce(&mut HostFacts), skipped: &[ProgramName], reason: &SkipReason) {
        let mut facts = capable();
        change(&mut facts);
        for planned in plan(&facts).programs {
            let expected = if skipped.contains(&planned.name) {
                Action::Skip(reason.clone())
            } else {
                Action::Attach
            };
            assert_eq!(planned.action, expected, "{}", planned.name);
        }
    }

    #[test]
    fn everything_where_everything_is() {
        check(|_| {}, &[], &SkipReason::NoCgroup2);
        let plan = plan(&capable());
        assert_eq!(plan.programs.len(), ProgramName::ALL.len());
        let expected = Settings {
            cgroup_root: 8,
            cgroup_level: 12,
            cgroup_id: 16,
            cgroup_path: 24,
            oom_pid: 8,
            oom_comm: 12,
            oom_anon_rss: 24,
            ..Settings::default()
        };
        assert_eq!(plan.settings, expected);
    }

    /// A fact less, the programs that need it, and why they are left out.
    type Case = (fn(&mut HostFacts), &'static [ProgramName], SkipReason);

    fn no_tracepoint(name: &str) -> SkipReason {
        SkipReason::NoTracepoint(name.to_owned())
    }

    fn without(facts: &mut HostFacts, capability: Capability) {
        facts.capabilities = Some(Capabilities::ALL.without(capability));
    }

    #[test]
    fn one_fact_less_is_one_effect() {
        let cases: [Case; 11] = [
            (|f| f.cgroup.v2 = None, &IMDS, SkipReason::NoCgroup2),
            (
                |f| {
                    f.types = Some(KernelTypes {
                        sched_switch: false,
                    });
                },
                &[SchedSwitch, Settle],
                no_tracepoint("sched_switch"),
            ),
            (
                |f| f.tracefs = None,
                &[CgroupMkdir, CgroupRmdir, MarkVictim],
                SkipReason::NoTracefs,
            ),
            (
                |f| drop(f.tracepoints.remove("cgroup/cgroup_mkdir")),
                &[CgroupMkdir],
                no_tracepoint("cgroup/cgroup_mkdir"),
            ),
            (
                |f| drop(f.tracepoints.remove("cgroup/cgroup_rmdir")),
                &[CgroupRmdir],
                no_tracepoint("cgroup/cgroup_rmdir"),
            ),
            (
                |f| drop(f.tracepoints.remove("oom/mark_victim")),
                &[MarkVictim],
                no_tracepoint("oom/mark_victim"),
            ),
            (
                |f| f.lockdown = Some(Lockdown::Confidentiality),
                &EVENTS,
                SkipReason::Lockdown,
            ),
            (
                |f| {
                    f.tracefs_empty = true;
                    f.tracepoints.clear();
                },
                &EVENTS,
                SkipReason::TracefsEmpty,
            ),
            (
                |f| without(f, Capability::Bpf),
                &ProgramName::ALL,
                SkipReason::NoCapability(Capability::Bpf),
            ),
            (
                |f| without(f, Capability::NetAdmin),
                &IMDS,
                SkipReason::NoCapability(Capability::NetAdmin),
            ),
            (
                |f| without(f, Capability::Perfmon),
                &ProgramName::ALL,
                SkipReason::NoCapability(Capability::Perfmon),
            ),
        ];
        for (change, skipped, reason) in cases {
            check(change, skipped, &reason);
        }
    }

    #[test]
    fn a_reason_that_stops_everything_is_said_once() {
        let nothing = |facts: &HostFacts| plan(facts).nothing_to_attach();
        let mut facts = HostFacts::default();
        assert_eq!(nothing(&facts), None, "what is not known is tried");
        without(&mut facts, Capability::Bpf);
        assert_eq!(nothing(&facts).as_deref(), Some("CAP_BPF is missing"));
    }

    #[test]
    fn a_field_of_another_shape_is_no_field() {
        // Before 5.10 the id was an int.
        let old = CGROUP.replace("u64 id; offset:16; size:8", "int id; offset:16; size:4");
        let event = "cgroup/cgroup_mkdir".to_owned();
        let change = |facts: &mut HostFacts| {
            drop(
                facts
                    .tracepoints
                    .insert(event.clone(), EventFormat::parse(&old).unwrap()),
            );
        };
        check(
            change,
            &[CgroupMkdir],
            &SkipReason::NoField {
                event: event.clone(),
                field: "id",
            },
        );
    }

    #[test]
    fn an_old_mark_victim_has_a_pid_and_nothing_else() {
        let mut facts = capable();
        let old = EventFormat::parse("field:int pid; offset:8; size:4;").unwrap();
        facts.tracepoints.insert("oom/mark_victim".to_owned(), old);
        let plan = plan(&facts);
        assert_eq!(plan.action(MarkVictim), Some(&Action::Attach));
        assert_eq!(
            (
                plan.settings.oom_pid,
                plan.settings.oom_comm,
                plan.settings.oom_anon_rss
            ),
            (8, ABSENT, ABSENT)
        );
    }

    #[test]
    fn what_is_not_known_is_tried() {
        let unknown = |facts: &mut HostFacts| {
            facts.capabilities = None;
            facts.lockdown = None;
            facts.jit_harden = None;
            facts.types = None;
        };
        check(unknown, &[], &SkipReason::NoCgroup2);
    }
}
