#![expect(
    clippy::disallowed_methods,
    reason = "shell: loads kernel programs and reads their rings and maps"
)]
//! Executes an [`AttachPlan`] and takes bytes out of the kernel.
//!
//! Each program loads and attaches for itself: one that fails is reported and the others run. It
//! fails for all where the build has no programs, where the kernel refuses their maps or globals, and
//! where a map is not what the agent takes it for. Dropping a [`Probe`] detaches everything. Has no
//! opinion on what the bytes mean.

use std::{
    fs::File,
    os::fd::{AsFd, BorrowedFd},
    path::PathBuf,
};

use aya::{
    Ebpf, EbpfLoader, VerifierLogLevel,
    maps::{HashMap, Map, MapData, MapError, PerCpuArray, RingBuf},
    programs::{
        CgroupAttachMode, CgroupSkbAttachType, Program, ProgramError, RawTracePointRunOptions,
        TestRun as _,
    },
};
use plimsoll_abi::{Counters, CpuUse, KINDS, OnCpu};

use super::{
    periods::{Snapshot, Unbooked},
    pod::{Value, give_back_freed_memory},
    program::{Hook, Outcome, ProgramName, ProgramReport},
};
use crate::host::plan::{Action, AttachPlan, Planned};

/// The object that the build script compiled; empty where it could not.
static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/plimsoll.bpf.o"));
/// Why it is empty.
const ABSENT: &str = env!("PLIMSOLL_EBPF_ABSENT");

/// How cgroup programs are attached: by a link, which always lets others be attached as well and
/// takes no flags; aya calls no flags "single".
const LINK: CgroupAttachMode = CgroupAttachMode::Single;
/// Bytes of a verifier's log that are kept, from its end, where the reason is.
const REASON_BYTES: usize = 600;

/// Sizes of what the kernel keeps for the agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Bytes of the security ring; a power of two and a multiple of the page size.
    pub security_ring_bytes: u32,
    /// Bytes of the process ring; likewise.
    pub process_ring_bytes: u32,
    /// Cgroups whose CPU time is kept at the same time. Beyond, time counts as unbooked.
    pub cgroups: u32,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            security_ring_bytes: 1 << 20,
            process_ring_bytes: 512 << 10,
            cgroups: 4096,
        }
    }
}

/// Why no kernel program runs at all.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// This build has none.
    #[error("built without kernel programs: {0}")]
    Absent(&'static str),
    /// The object, its maps or its globals were refused.
    #[error("the kernel refused the maps of the kernel programs")]
    Refused(#[source] Box<aya::EbpfError>),
    /// The object lacks a map, or it has another shape: agent and object do not belong together.
    #[error("the kernel programs have no usable map {name}")]
    Map {
        /// Which.
        name: &'static str,
        /// What aya says.
        #[source]
        source: MapError,
    },
    /// A map cannot be read.
    #[error("the kernel programs cannot be read")]
    Read(#[source] ReadError),
}

/// Why a map could not be read, or a row of it not removed.
#[derive(Debug, thiserror::Error)]
#[error("cannot read or change map {name} of the kernel programs")]
pub struct ReadError {
    name: &'static str,
    #[source]
    source: MapError,
}

struct Ring {
    ring: RingBuf<MapData>,
    /// The most bytes that one drain took out, record headers included.
    high_water_bytes: u64,
}

impl Ring {
    fn drain(&mut self, max: usize, mut each: impl FnMut(&[u8])) -> usize {
        let mut records = 0;
        let mut bytes = 0;
        while records < max
            && let Some(record) = self.ring.next()
        {
            // The kernel keeps 8 bytes in front of each record and aligns it to 8.
            bytes += (record.len() as u64 + 8).next_multiple_of(8);
            records += 1;
            each(&record);
        }
        self.high_water_bytes = self.high_water_bytes.max(bytes);
        records
    }
}

/// Loaded and attached kernel programs.
pub struct Probe {
    security: Ring,
    process: Ring,
    counters: PerCpuArray<MapData, Value<Counters>>,
    cpu_use: HashMap<MapData, u64, Value<CpuUse>>,
    on_cpu: PerCpuArray<MapData, Value<OnCpu>>,
    /// CPUs that can be online.
    cpus: u32,
    /// Rows of `cpu_use` at the most. One reading takes no more: it starts over where the row that
    /// it stands on vanishes.
    max_cgroups: usize,
    reports: Vec<ProgramReport>,
    /// Owns the links: what is dropped is detached.
    programs: Ebpf,
}

/// Why this agent has no kernel programs in it; `None` if it has.
pub fn built_without() -> Option<&'static str> {
    OBJECT.is_empty().then_some(ABSENT)
}

impl Probe {
    /// Loads the object and executes the plan.
    pub fn load(plan: &AttachPlan, options: Options) -> Result<Self, LoadError> {
        if let Some(why) = built_without() {
            return Err(LoadError::Absent(why));
        }
        let mut loader = EbpfLoader::new();
        // Nothing in the object is relocated against the kernel's types, which aya has just parsed.
        loader.btf(None).verifier_log_level(VerifierLogLevel::DEBUG);
        for (name, value) in plan.settings.globals() {
            loader.override_global(name, value, true);
        }
        loader
            .map_max_entries("SECURITY", options.security_ring_bytes)
            .map_max_entries("PROCESS", options.process_ring_bytes)
            .map_max_entries("CPU_USE", options.cgroups.max(1));
        let mut programs = loader
            .load(OBJECT)
            .map_err(|error| LoadError::Refused(Box::new(error)))?;
        let mut probe = Self {
            security: ring(&mut programs, "SECURITY")?,
            process: ring(&mut programs, "PROCESS")?,
            counters: map(&mut programs, "COUNTERS")?,
            cpu_use: map(&mut programs, "CPU_USE")?,
            on_cpu: map(&mut programs, "ON_CPU")?,
            cpus: 0,
            max_cgroups: usize::try_from(options.cgroups.max(1)).unwrap_or(usize::MAX),
            reports: plan
                .programs
                .iter()
                .map(|planned| attach(&mut programs, plan, planned))
                .collect(),
            programs,
        };
        let cpus = probe.on_cpu().map_err(LoadError::Read)?.len();
        give_back_freed_memory();
        probe.cpus = u32::try_from(cpus).unwrap_or(u32::MAX);
        Ok(probe)
    }

    /// What became of each program of the plan.
    pub fn reports(&self) -> &[ProgramReport] {
        &self.reports
    }

    /// Hands at most `max` records of the security ring to `each`; how many there were.
    pub fn drain_security(&mut self, max: usize, each: impl FnMut(&[u8])) -> usize {
        self.security.drain(max, each)
    }

    /// Hands at most `max` records of the process ring to `each`; how many there were.
    pub fn drain_process(&mut self, max: usize, each: impl FnMut(&[u8])) -> usize {
        self.process.drain(max, each)
    }

    /// The security ring's descriptor: readable when there are records. The process ring wakes
    /// nobody; it is drained on a tick.
    pub fn security_fd(&self) -> BorrowedFd<'_> {
        self.security.ring.as_fd()
    }

    /// The most bytes that one drain took out of the security and of the process ring, record
    /// headers included: what had gathered since the drain before.
    pub const fn ring_high_water_bytes(&self) -> [u64; 2] {
        [
            self.security.high_water_bytes,
            self.process.high_water_bytes,
        ]
    }

    /// Records by kind, all CPUs together, since load.
    pub fn counters(&self) -> Result<[Counters; KINDS], ReadError> {
        let mut sums = [Counters::default(); KINDS];
        for (kind, sum) in (0..).zip(&mut sums) {
            let values = self.counters.get(&kind, 0).map_err(|source| ReadError {
                name: "COUNTERS",
                source,
            })?;
            for Value(counters) in values.iter() {
                sum.emitted += counters.emitted;
                sum.lost += counters.lost;
            }
        }
        Ok(sums)
    }

    /// CPU time of one cgroup; `None` if no task of it was switched out, or was running when a CPU was
    /// made to book, since load.
    pub fn cpu_use(&self, cgroup_id: u64) -> Result<Option<CpuUse>, ReadError> {
        match self.cpu_use.get(&cgroup_id, 0) {
            Ok(Value(cpu_use)) => Ok(Some(cpu_use)),
            Err(MapError::KeyNotFound) => Ok(None),
            Err(source) => Err(ReadError {
                name: "CPU_USE",
                source,
            }),
        }
    }

    /// Up to when each possible CPU's time is booked; the index is the CPU.
    fn on_cpu(&self) -> Result<Vec<OnCpu>, ReadError> {
        let values = self.on_cpu.get(&0, 0).map_err(|source| ReadError {
            name: "ON_CPU",
            source,
        })?;
        Ok(values.iter().map(|Value(on_cpu)| *on_cpu).collect())
    }

    /// CPU time of every cgroup, in no order. Two system calls per cgroup.
    fn cpu_uses(&self) -> Result<Vec<(u64, CpuUse)>, ReadError> {
        let entries = self.cpu_use.iter().take(self.max_cgroups);
        entries
            .map(|entry| entry.map(|(cgroup_id, Value(cpu_use))| (cgroup_id, cpu_use)))
            .collect::<Result<_, _>>()
            .map_err(|source| ReadError {
                name: "CPU_USE",
                source,
            })
    }

    /// Has every CPU book what it is running, then reads CPU time of every cgroup. An interrupt per
    /// CPU; call it about once a second, and more often than every 3 s (see [`Ledger`]).
    ///
    /// [`Ledger`]: super::periods::Ledger
    pub fn snapshot(&self) -> Result<Snapshot, ReadError> {
        let now_ns = crate::usage::clock::monotonic_ns();
        let settled = self.settle();
        let uses = self.cpu_uses()?;
        let mut unbooked = Unbooked::default();
        for on_cpu in self.on_cpu()? {
            unbooked.switches += on_cpu.unbooked;
            unbooked.ns += on_cpu.unbooked_ns;
        }
        Ok(Snapshot {
            now_ns,
            uses,
            settled,
            unbooked,
        })
    }

    /// True if all CPUs that are online did it. One that cannot keeps no other from it.
    fn settle(&self) -> bool {
        let program = self.programs.program(ProgramName::Settle.as_str());
        let Some(Program::RawTracePoint(settle)) = program else {
            return false;
        };
        let settle_on = |cpu| {
            let mut options = RawTracePointRunOptions::new();
            options.cpu = Some(cpu);
            match settle.test_run(options) {
                Ok(_) => true,
                // A CPU that is offline runs nothing.
                Err(ProgramError::SyscallError(error)) => {
                    error.io_error.raw_os_error() == Some(rustix::io::Errno::NXIO.raw_os_error())
                }
                Err(_) => false,
            }
        };
        let unsettled = (0..self.cpus).filter(|cpu| !settle_on(*cpu)).count();
        unsettled == 0
    }

    /// A loaded program's descriptor: its `/proc/self/fdinfo` entry has its run time and count while
    /// `kernel.bpf_stats_enabled` is set.
    pub fn program_fd(&self, name: ProgramName) -> Option<BorrowedFd<'_>> {
        let fd = match self.programs.program(name.as_str())? {
            Program::CgroupSockAddr(program) => program.fd(),
            Program::CgroupSkb(program) => program.fd(),
            Program::TracePoint(program) => program.fd(),
            Program::RawTracePoint(program) => program.fd(),
            _ => return None,
        };
        fd.ok().map(AsFd::as_fd)
    }

    /// Removes a cgroup that is gone, after its last read. Tells if there was an entry. The last task
    /// of a cgroup can be switched out for the last time after the directory is gone, which makes a
    /// new entry: forget ids that nobody knows and no walk finds as well (the main loop does, see
    /// `KernelTime::walked`).
    pub fn forget_cgroup(&mut self, cgroup_id: u64) -> Result<bool, ReadError> {
        match self.cpu_use.remove(&cgroup_id) {
            Ok(()) => Ok(true),
            Err(MapError::KeyNotFound) => Ok(false),
            Err(MapError::SyscallError(error))
                if error.io_error.kind() == std::io::ErrorKind::NotFound =>
            {
                Ok(false)
            }
            Err(source) => Err(ReadError {
                name: "CPU_USE",
                source,
            }),
        }
    }
}

/// Loads and attaches one program.
fn attach(programs: &mut Ebpf, plan: &AttachPlan, planned: &Planned) -> ProgramReport {
    let outcome = match &planned.action {
        Action::Skip(reason) => Outcome::Skipped(reason.clone()),
        Action::Attach => match try_attach(programs, plan, planned.name) {
            Ok(()) => Outcome::Attached,
            Err(error) => Outcome::Failed(reason(&error)),
        },
    };
    ProgramReport {
        name: planned.name,
        outcome,
    }
}

/// Why one program does not run.
#[derive(Debug, thiserror::Error)]
enum AttachError {
    #[error("the object has no program of that name and type")]
    Missing,
    #[error("cannot open the root of the cgroup v2 hierarchy at {path}")]
    Root {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("the plan names no cgroup v2 hierarchy")]
    NoRoot,
    #[error("the kernel refused it")]
    Refused(#[from] ProgramError),
}

fn try_attach(
    programs: &mut Ebpf,
    plan: &AttachPlan,
    name: ProgramName,
) -> Result<(), AttachError> {
    let program = programs
        .program_mut(name.as_str())
        .ok_or(AttachError::Missing)?;
    match (program, name.hook()) {
        (Program::CgroupSockAddr(program), Hook::CgroupConnect) => {
            let root = open_root(plan)?;
            program.load()?;
            program.attach(root, LINK).map(drop)
        }
        (Program::CgroupSkb(program), hook @ (Hook::CgroupEgress | Hook::CgroupIngress)) => {
            let root = open_root(plan)?;
            program.load()?;
            let direction = if hook == Hook::CgroupEgress {
                CgroupSkbAttachType::Egress
            } else {
                CgroupSkbAttachType::Ingress
            };
            program.attach(root, direction, LINK).map(drop)
        }
        (Program::TracePoint(program), Hook::Tracepoint(category, event)) => {
            program.load()?;
            program.attach(category, event).map(drop)
        }
        (Program::RawTracePoint(program), Hook::RawTracepoint(event)) => {
            program.load()?;
            program.attach(event).map(drop)
        }
        (Program::RawTracePoint(program), Hook::OnDemand) => program.load(),
        _ => return Err(AttachError::Missing),
    }
    .map_err(AttachError::from)
}

fn open_root(plan: &AttachPlan) -> Result<File, AttachError> {
    let path = plan.cgroup_root.as_ref().ok_or(AttachError::NoRoot)?;
    File::open(path).map_err(|source| AttachError::Root {
        path: path.clone(),
        source,
    })
}

/// An error and its causes, the end of it if it is long.
fn reason(error: &dyn std::error::Error) -> String {
    let mut text = crate::causes::chain(error);
    let skip = text.len().saturating_sub(REASON_BYTES);
    let from = (skip..text.len())
        .find(|at| text.is_char_boundary(*at))
        .unwrap_or(0);
    text.split_off(from)
}

fn ring(programs: &mut Ebpf, name: &'static str) -> Result<Ring, LoadError> {
    Ok(Ring {
        ring: map(programs, name)?,
        high_water_bytes: 0,
    })
}

fn map<M: TryFrom<Map, Error = MapError>>(
    programs: &mut Ebpf,
    name: &'static str,
) -> Result<M, LoadError> {
    let map = programs
        .take_map(name)
        .ok_or_else(|| MapError::InvalidName {
            name: name.to_owned(),
        })
        .and_then(M::try_from);
    map.map_err(|source| LoadError::Map { name, source })
}
