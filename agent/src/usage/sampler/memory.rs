//! One container's memory: by the controller of either version, or added up from its processes.

use plimsoll_wire::usage::Source;

use super::Shared;
use super::container::read;
use super::resident::ProcessFiles;
use super::slot::Slot;
use crate::cgroup::fs::{Folder, FsError, Roots};
use crate::cgroup::parse::{self, MemoryStat};
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

impl Memory {
    /// Finds out who counts this container's memory.
    pub(super) fn open(
        path: &str,
        roots: &Roots,
        unified: Option<&Folder>,
        v1: Option<&Folder>,
        left: &mut usize,
    ) -> Result<Self, FsError> {
        let current = Slot::keep(unified, "memory.current", left)?;
        let (source, current, names) = if current.is_absent() {
            let current = Slot::keep(v1, "memory.usage_in_bytes", left)?;
            let names = [
                "memory.oom_control",
                "memory.stat",
                "memory.max_usage_in_bytes",
                "memory.limit_in_bytes",
            ];
            (
                if current.is_absent() {
                    Source::Procfs
                } else {
                    Source::CgroupV1
                },
                current,
                names,
            )
        } else {
            (
                Source::CgroupV2,
                current,
                ["memory.events", "memory.stat", "memory.peak", "memory.max"],
            )
        };
        let folder = match source {
            Source::CgroupV2 => unified,
            Source::CgroupV1 => v1,
            _ => None,
        };
        let [events, stat, peak, limit] = names;
        let processes = (source == Source::Procfs)
            .then(|| {
                roots
                    .naming()
                    .map(|root| ProcessFiles::new(root.join(path.trim_start_matches('/'))))
            })
            .flatten();
        Ok(Self {
            source: Some(source).filter(|source| *source != Source::Procfs || processes.is_some()),
            current,
            events: Slot::keep(folder, events, left)?,
            stat: Slot::seldom(folder, stat)?,
            peak: Slot::seldom(folder, peak)?,
            limit: Slot::seldom(folder, limit)?,
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
            Some(Source::CgroupV2) => self
                .by_controller(id, unified, Source::CgroupV2, now_ns, shared)
                .map(Some),
            Some(Source::CgroupV1) => self
                .by_controller(id, v1, Source::CgroupV1, now_ns, shared)
                .map(Some),
            _ => {
                let Some(files) = &mut self.processes else {
                    return Ok(None);
                };
                let every_ns = shared.options.memory_stat_every_ns;
                let found = shared
                    .processes
                    .resident(files, now_ns, every_ns, &mut shared.buffer);
                let found = shared.unless_gone(id, found)?;
                // Nobody has memory where the first process is not moved in yet, or the last one has
                // ended: that is no measurement.
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
                        oom_kills: None,
                    }))
            }
        }
    }

    fn by_controller(
        &mut self,
        id: u64,
        folder: Option<&Folder>,
        source: Source,
        now_ns: u64,
        shared: &mut Shared,
    ) -> Result<MemorySample, FsError> {
        let v2 = source == Source::CgroupV2;
        let current = read(&self.current, folder, shared, |bytes| {
            parse::single("memory.current", bytes)
        });
        let current_bytes = shared.unless_gone(id, current)?;
        let events = read(
            &self.events,
            folder,
            shared,
            if v2 {
                parse::memory_events
            } else {
                parse::oom_control
            },
        );
        let oom_kills = shared.unless_gone(id, events)?;
        let mut found = MemorySample {
            source,
            current_bytes,
            peak_bytes: None,
            stat: None,
            limit_bytes: self.last_limit_bytes,
            oom_kills,
        };
        let every_ns = shared.options.memory_stat_every_ns;
        let Some(current_bytes) = current_bytes else {
            return Ok(found);
        };
        if !memory_stat_is_due(self.last_stat, current_bytes, now_ns, every_ns) {
            return Ok(found);
        }
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
        shared.counters.memory_stats += 1;
        let stat = if v2 {
            parse::memory_stat
        } else {
            parse::memory_stat_v1
        };
        let stat = read(&self.stat, folder, shared, |bytes| stat(bytes).map(Some));
        found.stat = shared.unless_gone(id, stat)?;
        let peak = read(&self.peak, folder, shared, |bytes| {
            parse::single("memory.peak", bytes)
        });
        found.peak_bytes = shared.unless_gone(id, peak)?;
        let limit = read(
            &self.limit,
            folder,
            shared,
            if v2 {
                parse::memory_max
            } else {
                parse::memory_limit_v1
            },
        );
        self.last_limit_bytes = shared.unless_gone(id, limit)?;
        found.limit_bytes = self.last_limit_bytes;
        Ok(found)
    }
}
