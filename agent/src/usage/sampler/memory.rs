//! One container's memory: by the controller of either version, or added up from its processes.

use plimsoll_wire::usage::Source;

use super::Shared;
use super::container::read;
use super::resident::ProcessFiles;
use super::slot::Slot;
use crate::cgroup::fs::{Folder, FsError, Roots};
use crate::cgroup::parse::{self, MemoryEvents, MemoryStat, ParseError};
use crate::usage::sample::{LastStat, MemorySample, memory_stat_is_due};

/// See the module.
#[derive(Debug)]
pub(super) struct Memory {
    pub(super) source: Option<Source>,
    pub(super) current: Slot,
    pub(super) events: Slot,
    pub(super) stat: Slot,
    pub(super) peak: Slot,
    pub(super) limit: Slot,
    last_stat: Option<LastStat>,
    last_limit_bytes: Option<u64>,
    processes: Option<ProcessFiles>,
}

/// A file's name, and what reads it.
type File<T> = (&'static str, fn(&[u8]) -> Result<T, ParseError>);

/// How one version of the controller names its files and prints them.
pub(super) struct Version {
    current: &'static str,
    events: File<MemoryEvents>,
    stat: File<MemoryStat>,
    peak: &'static str,
    limit: File<Option<u64>>,
}

const V1: Version = Version {
    current: "memory.usage_in_bytes",
    events: ("memory.oom_control", parse::oom_control),
    stat: ("memory.stat", parse::memory_stat_v1),
    peak: "memory.max_usage_in_bytes",
    limit: ("memory.limit_in_bytes", parse::memory_limit_v1),
};

const V2: Version = Version {
    current: "memory.current",
    events: ("memory.events", parse::memory_events),
    stat: ("memory.stat", parse::memory_stat),
    peak: "memory.peak",
    limit: ("memory.max", parse::memory_max),
};

impl Memory {
    /// Finds out who counts this container's memory.
    pub(super) fn open(
        path: &str,
        roots: &Roots,
        unified: Option<&Folder>,
        v1: Option<&Folder>,
        left: &mut usize,
    ) -> Result<Self, FsError> {
        for (source, version, folder) in [
            (Source::CgroupV2, &V2, unified),
            (Source::CgroupV1, &V1, v1),
        ] {
            let current = Slot::keep(folder, version.current, left)?;
            if !current.is_absent() {
                return Ok(Self {
                    source: Some(source),
                    current,
                    events: Slot::keep(folder, version.events.0, left)?,
                    stat: Slot::seldom(folder, version.stat.0)?,
                    peak: Slot::seldom(folder, version.peak)?,
                    limit: Slot::seldom(folder, version.limit.0)?,
                    last_stat: None,
                    last_limit_bytes: None,
                    processes: None,
                });
            }
        }
        let folder = |root: &std::path::Path| root.join(path.trim_start_matches('/'));
        let processes = roots.naming().map(folder).map(ProcessFiles::new);
        Ok(Self {
            source: processes.as_ref().map(|_| Source::Procfs),
            current: Slot::absent(V2.current),
            events: Slot::absent(V2.events.0),
            stat: Slot::absent(V2.stat.0),
            peak: Slot::absent(V2.peak),
            limit: Slot::absent(V2.limit.0),
            last_stat: None,
            last_limit_bytes: None,
            processes,
        })
    }

    /// Reads what is due. The only error is [`FsError::Gone`].
    pub(super) fn sample(
        &mut self,
        id: u64,
        unified: Option<&Folder>,
        v1: Option<&Folder>,
        now_ns: u64,
        shared: &mut Shared,
    ) -> Result<Option<MemorySample>, FsError> {
        match self.source {
            Some(source @ Source::CgroupV2) => self
                .by_controller(id, unified, (source, &V2), now_ns, shared)
                .map(Some),
            Some(source @ Source::CgroupV1) => self
                .by_controller(id, v1, (source, &V1), now_ns, shared)
                .map(Some),
            _ => self.by_processes(id, now_ns, shared),
        }
    }

    /// Of the controller; `None` without one.
    pub(super) fn version(&self) -> Option<&'static Version> {
        match self.source {
            Some(Source::CgroupV2) => Some(&V2),
            Some(Source::CgroupV1) => Some(&V1),
            _ => None,
        }
    }

    fn by_processes(
        &mut self,
        id: u64,
        now_ns: u64,
        shared: &mut Shared,
    ) -> Result<Option<MemorySample>, FsError> {
        let Some(files) = &mut self.processes else {
            return Ok(None);
        };
        let every_ns = shared.options.memory_stat_every_ns;
        let found = shared.processes.resident(
            files,
            now_ns,
            every_ns,
            &mut shared.buffer,
            &mut shared.counters,
        );
        let found = shared.unless_gone(id, found)?;
        // Nobody has memory where the first process is not moved in yet, or the last one has ended:
        // that is no measurement.
        Ok(found
            .map(|resident| {
                let file_bytes = resident.file_bytes + resident.shmem_bytes;
                (resident.anon_bytes, file_bytes)
            })
            .filter(|(anon_bytes, file_bytes)| anon_bytes + file_bytes > 0)
            .map(|(anon_bytes, file_bytes)| MemorySample {
                source: Source::Procfs,
                current_bytes: Some(anon_bytes + file_bytes),
                peak_bytes: None,
                stat: Some(MemoryStat {
                    anon_bytes: Some(anon_bytes),
                    file_bytes: Some(file_bytes),
                    inactive_file_bytes: None,
                }),
                limit_bytes: None,
                events: MemoryEvents::default(),
            }))
    }

    fn by_controller(
        &mut self,
        id: u64,
        folder: Option<&Folder>,
        (source, version): (Source, &Version),
        now_ns: u64,
        shared: &mut Shared,
    ) -> Result<MemorySample, FsError> {
        let current = read(&self.current, folder, shared, |bytes| {
            parse::single(version.current, bytes)
        });
        let current_bytes = shared.unless_gone(id, current)?;
        let events = self.events(id, folder, version, shared)?;
        let mut found = MemorySample {
            source,
            current_bytes,
            peak_bytes: None,
            stat: None,
            limit_bytes: self.last_limit_bytes,
            events,
        };
        let every_ns = shared.options.memory_stat_every_ns;
        if let Some(current_bytes) = current_bytes
            && memory_stat_is_due(self.last_stat, current_bytes, now_ns, every_ns)
        {
            // Containers that were found together would be due together: the first time is drawn
            // from the id.
            let early = if self.last_stat.is_none() {
                (id % 8) * (every_ns / 8)
            } else {
                0
            };
            self.last_stat = Some(LastStat {
                at_ns: now_ns.saturating_sub(early),
                current_bytes,
            });
            self.read_seldom(id, folder, version, &mut found, shared)?;
        }
        Ok(found)
    }

    pub(super) fn events(
        &self,
        id: u64,
        folder: Option<&Folder>,
        version: &Version,
        shared: &mut Shared,
    ) -> Result<MemoryEvents, FsError> {
        let found = read(&self.events, folder, shared, |bytes| {
            version.events.1(bytes).map(Some)
        });
        Ok(shared.unless_gone(id, found)?.unwrap_or_default())
    }

    /// The limit as it stands; `None` is unlimited or unknown.
    pub(super) fn limit(
        &self,
        id: u64,
        folder: Option<&Folder>,
        version: &Version,
        shared: &mut Shared,
    ) -> Result<Option<u64>, FsError> {
        let found = read(&self.limit, folder, shared, version.limit.1);
        shared.unless_gone(id, found)
    }

    /// The files that cost more, or change less, than those of each second.
    fn read_seldom(
        &mut self,
        id: u64,
        folder: Option<&Folder>,
        version: &Version,
        found: &mut MemorySample,
        shared: &mut Shared,
    ) -> Result<(), FsError> {
        shared.counters.memory_stats += 1;
        let stat = read(&self.stat, folder, shared, |bytes| {
            version.stat.1(bytes).map(Some)
        });
        found.stat = shared.unless_gone(id, stat)?;
        let peak = read(&self.peak, folder, shared, |bytes| {
            parse::single(version.peak, bytes)
        });
        found.peak_bytes = shared.unless_gone(id, peak)?;
        self.last_limit_bytes = self.limit(id, folder, version, shared)?;
        found.limit_bytes = self.last_limit_bytes;
        Ok(())
    }
}
