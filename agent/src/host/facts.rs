//! Facts about the host, as values, and the parsers of the texts they come from.
//!
//! Pure. `None` means that it could not be found out, never that it is not so.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    path::{Path, PathBuf},
};

use super::{btf::Btf, format::EventFormat, label::CgroupLabels};

/// What the agent knows about the host when it decides what to attach.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostFacts {
    /// `uname -r`; for people, decisions are never made on it.
    pub kernel_release: Option<String>,
    /// `/proc/sys/kernel/random/boot_id`.
    pub boot_id: Option<String>,
    /// Which cgroup hierarchies are mounted where.
    pub cgroup: CgroupFacts,
    /// What the kernel's BTF says; `None` without BTF.
    pub types: Option<KernelTypes>,
    /// Where tracefs is mounted.
    pub tracefs: Option<PathBuf>,
    /// Layouts of the tracepoints in use, keyed `category/name`; absent if there is no such file.
    pub tracepoints: BTreeMap<String, EventFormat>,
    /// tracefs is mounted and has no files: `lockdown=confidentiality` keeps them from being made.
    pub tracefs_empty: bool,
    /// `/sys/kernel/security/lockdown`.
    pub lockdown: Option<Lockdown>,
    /// `net.core.bpf_jit_harden`: 2 blinds constants for root's programs as well.
    pub jit_harden: Option<u8>,
    /// `kernel.perf_event_paranoid`: Linux knows up to 2. From 3 on (Ubuntu: 4) Debian's and Ubuntu's
    /// kernels let only `CAP_SYS_ADMIN` open the events by which tracepoints are attached.
    pub perf_event_paranoid: Option<i32>,
    /// Effective capabilities of this process.
    pub capabilities: Option<Capabilities>,
    /// SELinux labels of the cgroup tree.
    pub cgroup_labels: CgroupLabels,
    /// Facts that the kernel keeps from this process: securityfs is not mounted in a pod, and some
    /// settings are shown in the host's network namespace alone.
    pub hidden: BTreeSet<Hidden>,
}

/// A fact that is there and cannot be seen from here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Hidden {
    /// [`HostFacts::lockdown`].
    Lockdown,
    /// [`HostFacts::jit_harden`].
    JitHarden,
}

impl Hidden {
    /// As the settings are called.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Lockdown => "lockdown",
            Self::JitHarden => "bpf_jit_harden",
        }
    }
}

/// What was asked of BTF.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KernelTypes {
    /// The kernel has the raw tracepoint `sched_switch`.
    pub sched_switch: bool,
}

impl KernelTypes {
    /// Asks BTF.
    pub fn of(btf: &Btf<'_>) -> Self {
        Self {
            sched_switch: btf.has_typedef("btf_trace_sched_switch"),
        }
    }
}

/// How the cgroup hierarchies are arranged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CgroupMode {
    /// One hierarchy for all: v2 carries the controllers.
    V2,
    /// v2 is mounted, controllers are (also) in v1 hierarchies.
    Hybrid,
    /// Only v1.
    V1,
    /// None is mounted, or it is not known.
    #[default]
    Unknown,
}

impl fmt::Display for CgroupMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V2 => "v2",
            Self::Hybrid => "hybrid",
            Self::V1 => "v1",
            Self::Unknown => "unknown",
        })
    }
}

/// Where the hierarchies are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CgroupFacts {
    /// The arrangement.
    pub mode: CgroupMode,
    /// Root of the v2 hierarchy as this process sees it.
    pub v2: Option<PathBuf>,
    /// That root is itself a cgroup with a parent: what runs outside it is not seen from there.
    pub v2_is_part: bool,
    /// Controllers that v2 offers (`cgroup.controllers` of the root).
    pub v2_controllers: BTreeSet<String>,
    /// Mount point of each v1 controller (`cpu`, `memory`, `name=systemd`, …).
    pub v1: BTreeMap<String, PathBuf>,
}

impl CgroupFacts {
    /// Reads the text of `/proc/self/mounts` (fstab(5) fields) and of `cgroup.controllers` in `v2`:
    /// where the host's v2 tree is to be seen, which in a pod is not where the pod's own is mounted.
    pub fn parse(mounts: &str, v2: Option<PathBuf>, v2_controllers: Option<&str>) -> Self {
        let mut v1 = BTreeMap::new();
        for mount in self::mounts(mounts).filter(|mount| mount.kind == "cgroup") {
            for option in mount
                .options
                .split(',')
                .filter(|option| is_v1_controller(option))
            {
                v1.entry(option.to_owned())
                    .or_insert_with(|| mount.path.clone());
            }
        }
        let resource = v1.keys().any(|name| !name.starts_with("name="));
        let mode = match (&v2, resource) {
            (Some(_), false) => CgroupMode::V2,
            (Some(_), true) => CgroupMode::Hybrid,
            (None, true) => CgroupMode::V1,
            (None, false) => CgroupMode::Unknown,
        };
        let v2_controllers = v2_controllers
            .unwrap_or_default()
            .split_whitespace()
            .map(str::to_owned)
            .collect();
        Self {
            mode,
            v2,
            v2_controllers,
            v2_is_part: false,
            v1,
        }
    }
}

/// The first mount point of tracefs.
pub fn tracefs(mounts: &str) -> Option<PathBuf> {
    self::mounts(mounts)
        .find(|mount| mount.kind == "tracefs")
        .map(|mount| mount.path)
}

struct Mount<'a> {
    path: PathBuf,
    kind: &'a str,
    options: &'a str,
}

fn mounts(text: &str) -> impl Iterator<Item = Mount<'_>> {
    text.lines().filter_map(|line| {
        let mut words = line.split(' ').skip(1);
        let (path, kind, options) = (words.next()?, words.next()?, words.next()?);
        Some(Mount {
            path: unescape(path),
            kind,
            options,
        })
    })
}

/// Blank, tab, newline and backslash are written as three octal digits (getmntent(3)).
fn unescape(path: &str) -> PathBuf {
    let plain = path
        .replace("\\040", " ")
        .replace("\\011", "\t")
        .replace("\\012", "\n")
        .replace("\\134", "\\");
    Path::new(&plain).to_owned()
}

/// Of a v1 mount's options, the ones that name a hierarchy.
fn is_v1_controller(option: &str) -> bool {
    const CONTROLLERS: [&str; 14] = [
        "blkio",
        "cpu",
        "cpuacct",
        "cpuset",
        "devices",
        "freezer",
        "hugetlb",
        "memory",
        "misc",
        "net_cls",
        "net_prio",
        "perf_event",
        "pids",
        "rdma",
    ];
    CONTROLLERS.contains(&option) || option.starts_with("name=")
}

/// The kernel's lockdown mode (kernel_lockdown(7)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lockdown {
    /// Off.
    None,
    /// The running kernel cannot be changed; BPF programs may read kernel memory.
    Integrity,
    /// BPF programs may not read kernel memory either.
    Confidentiality,
}

impl Lockdown {
    /// Parses `none [integrity] confidentiality`.
    pub fn parse(text: &str) -> Option<Self> {
        match text
            .split_whitespace()
            .find_map(|word| word.strip_prefix('[')?.strip_suffix(']'))?
        {
            "none" => Some(Self::None),
            "integrity" => Some(Self::Integrity),
            "confidentiality" => Some(Self::Confidentiality),
            _ => None,
        }
    }
}

/// A set of capabilities (capabilities(7)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities(pub u64);

/// A capability that something in the agent needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Capability {
    /// Attach to cgroups' network hooks.
    NetAdmin = 12,
    /// Look at what processes of others run.
    SysPtrace = 19,
    /// Stands in for the kernel programs' others.
    SysAdmin = 21,
    /// Attach to tracepoints, read kernel memory.
    Perfmon = 38,
    /// Load programs, make maps.
    Bpf = 39,
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NetAdmin => "CAP_NET_ADMIN",
            Self::SysPtrace => "CAP_SYS_PTRACE",
            Self::SysAdmin => "CAP_SYS_ADMIN",
            Self::Perfmon => "CAP_PERFMON",
            Self::Bpf => "CAP_BPF",
        })
    }
}

impl Capabilities {
    /// Every capability, as root in the initial namespace has them.
    #[cfg(test)]
    pub(crate) const ALL: Self = Self(u64::MAX);

    /// Parses the `CapEff` line of `/proc/self/status`.
    pub fn parse(status: &str) -> Option<Self> {
        let hex = status
            .lines()
            .find_map(|line| line.strip_prefix("CapEff:"))?;
        u64::from_str_radix(hex.trim(), 16).ok().map(Self)
    }

    /// True if it is in the set, or `CAP_SYS_ADMIN`, which includes `CAP_BPF` and `CAP_PERFMON`.
    pub fn allow(self, capability: Capability) -> bool {
        let has = |capability: Capability| self.0 >> (capability as u32) & 1 == 1;
        let included = matches!(capability, Capability::Bpf | Capability::Perfmon);
        has(capability) || (included && has(Capability::SysAdmin))
    }

    /// How many it has beside these.
    pub fn beside(self, known: &[Capability]) -> u32 {
        let known = known
            .iter()
            .fold(0_u64, |set, one| set | 1 << (*one as u32));
        (self.0 & !known).count_ones()
    }

    /// The set without one capability (and without the one that would stand in for it).
    #[cfg(test)]
    pub(crate) fn without(self, capability: Capability) -> Self {
        Self(self.0 & !(1 << capability as u32) & !(1 << Capability::SysAdmin as u32))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "tmpfs /sys/fs/cgroup tmpfs rw,mode=755 0 0\n\
        cgroup /sys/fs/cgroup/cpu\\040acct cgroup rw,relatime,cpu,cpuacct 0 0\n\
        cgroup /sys/fs/cgroup/memory cgroup rw,relatime,memory 0 0\n\
        cgroup /sys/fs/cgroup/systemd cgroup rw,name=systemd 0 0\n\
        cgroup2 /sys/fs/cgroup/unified cgroup2 rw,relatime 0 0\n\
        tracefs /sys/kernel/tracing tracefs rw 0 0\n";

    #[test]
    fn a_hybrid_host_names_both_trees() {
        let facts = CgroupFacts::parse(HYBRID, Some("/sys/fs/cgroup/unified".into()), Some("\n"));
        assert_eq!(facts.mode, CgroupMode::Hybrid);
        assert_eq!(
            facts.v2.as_deref(),
            Some(Path::new("/sys/fs/cgroup/unified"))
        );
        assert!(facts.v2_controllers.is_empty());
        assert_eq!(facts.v1["cpu"], Path::new("/sys/fs/cgroup/cpu acct"));
        assert_eq!(facts.v1["cpuacct"], facts.v1["cpu"]);
        assert_eq!(
            facts.v1["name=systemd"],
            Path::new("/sys/fs/cgroup/systemd")
        );
        assert!(!facts.v1.contains_key("relatime"));
        assert_eq!(
            tracefs(HYBRID).as_deref(),
            Some(Path::new("/sys/kernel/tracing"))
        );
    }

    #[test]
    fn other_arrangements() {
        let v2 = CgroupFacts::parse(
            "cgroup2 /sys/fs/cgroup cgroup2 rw 0 0\n",
            Some("/sys/fs/cgroup".into()),
            Some("cpu io memory pids\n"),
        );
        assert_eq!((v2.mode, v2.v2_controllers.len()), (CgroupMode::V2, 4));
        // systemd's name-only hierarchy beside v2 takes no controller away.
        let named = "cgroup2 /c cgroup2 rw 0 0\ncgroup /s cgroup rw,name=systemd 0 0\n";
        assert_eq!(
            CgroupFacts::parse(named, Some("/c".into()), None).mode,
            CgroupMode::V2
        );
        assert_eq!(
            CgroupFacts::parse("cgroup /m cgroup rw,memory 0 0\n", None, None).mode,
            CgroupMode::V1
        );
        assert_eq!(CgroupFacts::parse("", None, None), CgroupFacts::default());
        assert_eq!(
            CgroupFacts::parse("broken\n\n", None, None),
            CgroupFacts::default()
        );
    }

    #[test]
    fn words_and_numbers() {
        assert_eq!(
            Lockdown::parse("none [integrity] confidentiality\n"),
            Some(Lockdown::Integrity)
        );
        assert_eq!(
            Lockdown::parse("[none] integrity confidentiality"),
            Some(Lockdown::None)
        );
        assert_eq!(Lockdown::parse("none integrity"), None);
        assert_eq!(
            Capabilities::parse("Name:\tx\nCapEff:\t000001ffffffffff\n"),
            Some(Capabilities(0x1ff_ffff_ffff))
        );
        assert_eq!(Capabilities::parse("CapEff:\tzz"), None);
        assert!(
            !Capabilities::ALL
                .without(Capability::Bpf)
                .allow(Capability::Bpf)
        );
        assert!(Capabilities(1 << 21).allow(Capability::Perfmon));
        assert!(!Capabilities(1 << 21).allow(Capability::NetAdmin));
        assert!(!Capabilities(1 << 21).allow(Capability::SysPtrace));
        let known = [Capability::Bpf, Capability::SysPtrace];
        assert_eq!(Capabilities(1 << 39 | 1 << 21).beside(&known), 1);
    }
}
