//! One container's files, in whichever hierarchies have them, and how a sample is read from them.

use plimsoll_wire::usage::Source;

use super::memory::Memory;
use super::slot::Slot;
use super::{ReadError, Shared};
use crate::cgroup::fs::{Folder, FsError, Roots};
use crate::cgroup::parse::{self, CpuStat, PressureTotal};
use crate::usage::Sample;
use crate::usage::sample::{CpuSample, MemoryNow};

/// See the module.
#[derive(Debug)]
pub(super) struct Container {
    id: u64,
    path: Box<str>,
    /// Of the folder in the tree that names it, when its files were opened.
    inode: Option<u64>,
    unified: Option<Folder>,
    /// v1 folders; empty on a host with cgroup v2 only.
    v1: V1,
    cpu_stat: Slot,
    cpuacct: Slot,
    throttling_v1: Slot,
    memory: Memory,
    pressure: [Slot; 3],
    io: Slot,
    io_v1: Slot,
    pids: Slot,
    pids_v1: Slot,
}

#[derive(Debug, Default)]
struct V1 {
    memory: Option<Folder>,
    cpu: Option<Folder>,
    cpuacct: Option<Folder>,
    blkio: Option<Folder>,
    pids: Option<Folder>,
}

const PRESSURE: [&str; 3] = ["cpu.pressure", "memory.pressure", "io.pressure"];

impl Container {
    /// Finds out what there is, and opens at most `left` descriptors.
    pub(super) fn open(
        id: u64,
        path: &str,
        roots: &Roots,
        mut left: usize,
    ) -> Result<Self, FsError> {
        // First: if the folder is another's by the time its files are opened, this is not its inode.
        let inode = roots.inode(path);
        let folder = |root: &Option<std::path::PathBuf>| match root {
            Some(root) => Folder::open(root, path),
            None => Ok(None),
        };
        let unified = folder(&roots.unified)?;
        let v1 = V1 {
            memory: folder(&roots.memory)?,
            cpu: folder(&roots.cpu)?,
            cpuacct: folder(&roots.cpuacct)?,
            blkio: folder(&roots.blkio)?,
            pids: folder(&roots.pids)?,
        };
        if unified.is_none() && v1.memory.is_none() && v1.cpuacct.is_none() {
            return Err(FsError::Gone);
        }
        let v2 = unified.as_ref();
        // A v1 file is only looked for where v2 has none.
        let instead = |found: &Slot, folder: &Option<Folder>, name, left: &mut usize| {
            if found.is_absent() {
                Slot::keep(folder.as_ref(), name, left)
            } else {
                Ok(Slot::absent(name))
            }
        };
        let cpu_stat = Slot::keep(v2, "cpu.stat", &mut left)?;
        let io = Slot::keep(v2, "io.stat", &mut left)?;
        let pids = Slot::keep(v2, "pids.current", &mut left)?;
        let [cpu, memory, block] = PRESSURE.map(|name| Slot::keep(v2, name, &mut left));
        let mut found = Self {
            id,
            path: path.into(),
            inode,
            cpuacct: instead(&cpu_stat, &v1.cpuacct, "cpuacct.usage", &mut left)?,
            // On a hybrid host cpu.stat of v2 has the use, and only v1 has the throttling.
            throttling_v1: Slot::keep(v1.cpu.as_ref(), "cpu.stat", &mut left)?,
            memory: Memory::open(path, roots, v2, v1.memory.as_ref(), &mut left)?,
            pressure: [cpu?, memory?, block?],
            io_v1: instead(
                &io,
                &v1.blkio,
                "blkio.throttle.io_service_bytes_recursive",
                &mut left,
            )?,
            pids_v1: instead(&pids, &v1.pids, "pids.current", &mut left)?,
            cpu_stat,
            io,
            pids,
            unified,
            v1,
        };
        found.close_unused_folders();
        Ok(found)
    }

    /// Its files as they are now, if the folder is still its own: a file alone goes when a controller
    /// or pressure is switched off for the cgroup (`cgroup.subtree_control`, `cgroup.pressure`).
    pub(super) fn open_again(&self, roots: &Roots, left: usize) -> Option<Self> {
        let there = roots.inode(&self.path)?;
        if self.inode != Some(there) {
            return None;
        }
        Self::open(self.id, &self.path, roots, left + self.open_files()).ok()
    }

    /// A folder is only needed while some file is opened below it for each read.
    fn close_unused_folders(&mut self) {
        let V1 {
            memory,
            cpu,
            cpuacct,
            blkio,
            pids,
        } = &mut self.v1;
        let of_memory = [
            &self.memory.current,
            &self.memory.events,
            &self.memory.stat,
            &self.memory.peak,
            &self.memory.limit,
        ];
        let v2_memory = self.memory.source == Some(Source::CgroupV2);
        let memory_by_name = of_memory.into_iter().any(Slot::is_by_name);
        let of_unified = [&self.cpu_stat, &self.io, &self.pids];
        let by_name = |slot: &Slot| slot.is_by_name();
        for (folder, used) in [
            (
                &mut self.unified,
                (v2_memory && memory_by_name)
                    || of_unified.into_iter().chain(&self.pressure).any(by_name),
            ),
            (memory, !v2_memory && memory_by_name),
            (cpu, by_name(&self.throttling_v1)),
            (cpuacct, by_name(&self.cpuacct)),
            (blkio, by_name(&self.io_v1)),
            (pids, by_name(&self.pids_v1)),
        ] {
            if !used {
                *folder = None;
            }
        }
    }

    /// Descriptors that stay open, folders included.
    pub(super) fn descriptors(&self) -> usize {
        let V1 {
            memory,
            cpu,
            cpuacct,
            blkio,
            pids,
        } = &self.v1;
        let folders = [&self.unified, memory, cpu, cpuacct, blkio, pids];
        folders.into_iter().flatten().count() + self.open_files()
    }

    fn open_files(&self) -> usize {
        let slots = [
            &self.cpu_stat,
            &self.cpuacct,
            &self.throttling_v1,
            &self.memory.current,
            &self.memory.events,
            &self.memory.peak,
            &self.io,
            &self.io_v1,
            &self.pids,
            &self.pids_v1,
        ];
        let slots = slots.into_iter().chain(&self.pressure);
        slots.filter(|slot| slot.is_open()).count()
    }

    /// Reads everything that is due. The only error is [`FsError::Gone`].
    pub(super) fn sample(
        &mut self,
        now_ns: u64,
        ebpf_cpu_ns: Option<u64>,
        shared: &mut Shared,
    ) -> Result<Sample, FsError> {
        let id = self.id;
        let mut sample = Sample {
            ebpf_cpu_ns,
            ..Sample::empty(id, now_ns)
        };
        let cpu = self.cpu(shared);
        sample.cpu = shared.unless_gone(id, cpu)?;
        sample.memory = self.memory.sample(
            id,
            self.unified.as_ref(),
            self.v1.memory.as_ref(),
            now_ns,
            shared,
        )?;
        let [cpu, memory, io] = [0, 1, 2].map(|at| self.pressure(at, shared));
        sample.cpu_pressure = shared.unless_gone(id, cpu)?;
        sample.memory_pressure = shared.unless_gone(id, memory)?;
        sample.io_pressure = shared.unless_gone(id, io)?;
        let io = if self.io.is_absent() {
            read(&self.io_v1, self.v1.blkio.as_ref(), shared, |bytes| {
                parse::blkio(bytes).map(Some)
            })
        } else {
            read(&self.io, self.unified.as_ref(), shared, |bytes| {
                parse::io_stat(bytes).map(Some)
            })
        };
        sample.io = shared.unless_gone(id, io)?;
        let pids = if self.pids.is_absent() {
            read(&self.pids_v1, self.v1.pids.as_ref(), shared, parse::pids)
        } else {
            read(&self.pids, self.unified.as_ref(), shared, parse::pids)
        };
        sample.pids = shared.unless_gone(id, pids)?;
        Ok(sample)
    }

    /// Some controller counts its memory, in files that are cheap to read.
    pub(super) fn has_memory_controller(&self) -> bool {
        self.memory.version().is_some()
    }

    /// Keeps the kernel's peak open while it is read with each tick; descriptors that this takes.
    pub(super) fn hold_peak(&mut self, left: usize) -> Result<usize, FsError> {
        let folder = match self.memory.source {
            Some(Source::CgroupV2) => self.unified.as_ref(),
            _ => self.v1.memory.as_ref(),
        };
        Ok(usize::from(self.memory.peak.hold(folder, left)?))
    }

    /// The end of that; descriptors that this gives back.
    pub(super) fn let_peak_go(&mut self) -> usize {
        usize::from(self.memory.peak.let_go())
    }

    fn memory_folder(&self) -> Option<&Folder> {
        match self.memory.source {
            Some(Source::CgroupV2) => self.unified.as_ref(),
            Some(Source::CgroupV1) => self.v1.memory.as_ref(),
            _ => None,
        }
    }

    /// The kernel's own peak, or what is in use now where the kernel keeps no peak (before 5.19).
    /// Zero is a cgroup that nobody has entered yet, which says nothing.
    pub(super) fn peak(&self, shared: &mut Shared) -> Result<Option<u64>, FsError> {
        let memory = &self.memory;
        let slot = if memory.peak.is_absent() {
            &memory.current
        } else {
            &memory.peak
        };
        let found = read(slot, self.memory_folder(), shared, |bytes| {
            parse::single(slot.name(), bytes)
        });
        let found = shared.unless_gone(self.id, found)?;
        Ok(found.filter(|bytes| *bytes > 0))
    }

    /// What the files say of a kill at this moment.
    pub(super) fn memory_now(&self, shared: &mut Shared) -> MemoryNow {
        let Some(version) = self.memory.version() else {
            return MemoryNow::default();
        };
        let (memory, folder) = (&self.memory, self.memory_folder());
        let events = memory.events(self.id, folder, version, shared);
        let limit = memory.limit(self.id, folder, version, shared);
        let peak = self.peak(shared);
        MemoryNow {
            peak_bytes: peak.ok().flatten(),
            limit_bytes: limit.ok().flatten(),
            events: events.unwrap_or_default(),
        }
    }

    fn cpu(&self, shared: &mut Shared) -> Result<Option<CpuSample>, ReadError> {
        let v2 = read(&self.cpu_stat, self.unified.as_ref(), shared, |bytes| {
            parse::cpu_stat(bytes).map(Some)
        })?;
        let mut cpu = if let Some(stat) = v2 {
            CpuSample {
                source: Source::CgroupV2,
                stat,
            }
        } else {
            let usage_ns = read(
                &self.cpuacct,
                self.v1.cpuacct.as_ref(),
                shared,
                parse::cpuacct_usage,
            )?;
            CpuSample {
                source: Source::CgroupV1,
                stat: CpuStat {
                    usage_ns,
                    ..CpuStat::default()
                },
            }
        };
        if cpu.stat.periods.is_none() {
            let v1 = read(&self.throttling_v1, self.v1.cpu.as_ref(), shared, |bytes| {
                parse::cpu_stat_v1(bytes).map(Some)
            })?;
            if let Some(v1) = v1 {
                cpu.stat = CpuStat {
                    usage_ns: cpu.stat.usage_ns,
                    ..v1
                };
            }
        }
        Ok((cpu.stat != CpuStat::default()).then_some(cpu))
    }

    fn pressure(&self, at: usize, shared: &mut Shared) -> Result<Option<PressureTotal>, ReadError> {
        let (Some(slot), Some(name)) = (self.pressure.get(at), PRESSURE.get(at)) else {
            return Ok(None);
        };
        read(slot, self.unified.as_ref(), shared, |bytes| {
            parse::pressure(name, bytes).map(Some)
        })
    }
}

/// Reads a slot and hands its bytes to a parser. What became of the read is counted here.
pub(super) fn read<T>(
    slot: &Slot,
    folder: Option<&Folder>,
    shared: &mut Shared,
    parse: impl FnOnce(&[u8]) -> Result<Option<T>, parse::ParseError>,
) -> Result<Option<T>, ReadError> {
    if slot.is_absent() {
        return Ok(None);
    }
    let Shared {
        buffer, counters, ..
    } = shared;
    let files = &mut counters.files;
    files.read += 1;
    let found = slot.read(folder, buffer).map_err(ReadError::from);
    let parsed = found.and_then(|bytes| Ok(bytes.map(parse).transpose()?));
    match &parsed {
        Ok(Some(_)) => files.parsed += 1,
        Ok(None) => files.empty += 1,
        Err(error) => files.failed(error),
    }
    parsed.map(Option::flatten)
}
