//! Samples every container through descriptors that stay open.
//!
//! ```text
//!            cgroup v2 ─── cpu.stat, memory.current, *.pressure, io.stat, pids.current, memory.events
//!  Sampler ─ cgroup v1 ─── the same path in cpuacct, cpu, memory, blkio, pids, for what v2 lacks
//!            caller ────── CPU time by our own accounting
//!            procfs ────── resident memory of the container's processes, where no controller is
//! ```
//!
//! Which of them a container has is found out once, when it is added; each group of a sample says
//! where it came from. In the steady state a round allocates nothing. The doors to the files are in
//! [`crate::cgroup::fs`]; the clock is the caller's.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::path::PathBuf;

use super::Sample;
use crate::cgroup::fs::{Buffer, Folder, FsError, Roots};
use crate::cgroup::parse::ParseError;

mod container;
mod memory;
mod resident;
mod slot;
mod young;

use container::Container;
use resident::Processes;
use young::Young;

/// How to sample.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// How often `memory.stat` is read at least, nanoseconds: see
    /// [`memory_stat_is_due`](super::sample::memory_stat_is_due).
    pub memory_stat_every_ns: u64,
    /// Descriptors that may stay open; beyond, files are opened for each read. See
    /// [`descriptor_budget`](crate::cgroup::fs::descriptor_budget).
    pub max_descriptors: usize,
    /// The host's `/proc`.
    pub proc_root: PathBuf,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            memory_stat_every_ns: 5_000_000_000,
            max_descriptors: 4096,
            proc_root: PathBuf::from("/proc"),
        }
    }
}

/// Why a group of a sample is missing though its file is there.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// The kernel's text was not what it documents.
    #[error("cgroup {id}")]
    Malformed {
        /// Whose.
        id: u64,
        /// Where.
        #[source]
        source: ParseError,
    },
    /// The file could not be read.
    #[error("cgroup {id}")]
    Unreadable {
        /// Whose.
        id: u64,
        /// What.
        #[source]
        source: FsError,
    },
}

/// Cumulative.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Samples taken.
    pub samples: u64,
    /// Reads of `memory.stat`.
    pub memory_stats: u64,
    /// Looks at young containers between samples.
    pub young_looks: u64,
    /// Times that a container's memory could not be added up, because it had more cgroups or
    /// processes than are looked at.
    pub not_added_up: u64,
    /// What became of the files.
    pub files: FileCounts,
}

/// What became of the reads of files. Each is counted before it is tried, and again where its fate
/// is known: `read` is the sum of the others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FileCounts {
    /// Tried.
    pub read: u64,
    /// Understood.
    pub parsed: u64,
    /// The kernel had nothing to show, or the cgroup or process was gone.
    pub empty: u64,
    /// The text was not what the kernel documents.
    pub malformed: u64,
    /// The kernel refused.
    pub unreadable: u64,
}

impl FileCounts {
    /// The fate of a read that failed.
    const fn failed(&mut self, error: &ReadError) {
        match error {
            ReadError::Fs(FsError::Gone) => self.empty += 1,
            ReadError::Fs(FsError::Io { .. }) => self.unreadable += 1,
            ReadError::Parse(_) => self.malformed += 1,
        }
    }
}

/// See the module.
#[derive(Debug)]
pub struct Sampler {
    roots: Roots,
    containers: BTreeMap<u64, Container>,
    shared: Shared,
    samples: Vec<Sample>,
    gone: Vec<u64>,
    young: Young,
}

/// What all containers read with.
#[derive(Debug)]
struct Shared {
    options: Options,
    buffer: Buffer,
    processes: Processes,
    counters: Counters,
    problem: Option<Problem>,
    descriptors: usize,
}

impl Shared {
    const fn descriptors_left(&self) -> usize {
        self.options
            .max_descriptors
            .saturating_sub(self.descriptors)
    }

    /// A group that could not be had: the last one is kept for the log. Gone is passed on.
    fn unless_gone<T>(
        &mut self,
        id: u64,
        found: Result<Option<T>, ReadError>,
    ) -> Result<Option<T>, FsError> {
        match found {
            Ok(found) => Ok(found),
            Err(ReadError::Fs(FsError::Gone)) => Err(FsError::Gone),
            Err(ReadError::Fs(source)) => {
                self.problem = Some(Problem::Unreadable { id, source });
                Ok(None)
            }
            Err(ReadError::Parse(source)) => {
                self.problem = Some(Problem::Malformed { id, source });
                Ok(None)
            }
        }
    }
}

#[derive(Debug, thiserror::Error)]
enum ReadError {
    #[error(transparent)]
    Fs(#[from] FsError),
    #[error(transparent)]
    Parse(#[from] ParseError),
}

/// One round over all containers.
#[derive(Clone, Copy, Debug)]
pub struct Round<'a> {
    /// By rising id.
    pub samples: &'a [Sample],
    /// Found to be removed, folder and all, and forgotten by the sampler.
    pub gone: &'a [u64],
}

impl Sampler {
    /// Samples below these roots.
    pub fn new(roots: Roots, options: Options) -> Self {
        let proc = Folder::open(&options.proc_root, "").ok().flatten();
        Self {
            roots,
            containers: BTreeMap::new(),
            shared: Shared {
                options,
                buffer: Buffer::default(),
                processes: Processes::new(proc),
                counters: Counters::default(),
                problem: None,
                descriptors: 0,
            },
            samples: Vec::new(),
            gone: Vec::new(),
            young: Young::default(),
        }
    }

    /// Opens a container's files. True if it was not known yet; [`FsError::Gone`] if no hierarchy
    /// has the path any more.
    pub fn add(&mut self, id: u64, path: &str) -> Result<bool, FsError> {
        let Entry::Vacant(place) = self.containers.entry(id) else {
            return Ok(false);
        };
        let left = self.shared.descriptors_left();
        let container = Container::open(id, path, &self.roots, left)?;
        self.shared.descriptors += container.descriptors();
        place.insert(container);
        Ok(true)
    }

    /// Samples this container.
    pub fn has(&self, id: u64) -> bool {
        self.containers.contains_key(&id)
    }

    /// Closes a container's files. True if it was known.
    pub fn remove(&mut self, id: u64) -> bool {
        let Some(container) = self.containers.remove(&id) else {
            return false;
        };
        self.shared.descriptors = self
            .shared
            .descriptors
            .saturating_sub(container.descriptors());
        true
    }

    /// One sample of each container. `clock` is CLOCK_MONOTONIC in nanoseconds, read before each
    /// container; `ebpf_cpu_ns` is the CPU time of a cgroup id by our own accounting.
    pub fn sample_all(
        &mut self,
        mut clock: impl FnMut() -> u64,
        mut ebpf_cpu_ns: impl FnMut(u64) -> Option<u64>,
    ) -> Round<'_> {
        self.samples.clear();
        self.gone.clear();
        for (id, container) in &mut self.containers {
            let ebpf_cpu_ns = ebpf_cpu_ns(*id);
            // Only one error comes out, Gone; the others are counted where they happen.
            if let Ok(sample) = container.sample(clock(), ebpf_cpu_ns, &mut self.shared) {
                self.samples.push(sample);
                continue;
            }
            let left = self.shared.descriptors_left();
            let Some(again) = container.open_again(&self.roots, left) else {
                self.gone.push(*id);
                continue;
            };
            let closed = container.descriptors();
            self.shared.descriptors = self.shared.descriptors.saturating_sub(closed);
            self.shared.descriptors += again.descriptors();
            *container = again;
            // If a file went in this very moment, the next round sees what is left.
            if let Ok(sample) = container.sample(clock(), ebpf_cpu_ns, &mut self.shared) {
                self.samples.push(sample);
            }
        }
        for at in 0..self.gone.len() {
            if let Some(id) = self.gone.get(at).copied() {
                self.remove(id);
            }
        }
        self.shared.counters.samples += self.samples.len() as u64;
        Round {
            samples: &self.samples,
            gone: &self.gone,
        }
    }

    /// Containers that are sampled, and descriptors that they keep open.
    pub fn len(&self) -> (usize, usize) {
        (self.containers.len(), self.shared.descriptors)
    }

    /// What was read and what could not be.
    pub const fn counters(&self) -> Counters {
        self.shared.counters
    }

    /// The last problem since this was asked, for the log.
    pub const fn take_problem(&mut self) -> Option<Problem> {
        self.shared.problem.take()
    }
}

#[cfg(test)]
mod tests;
