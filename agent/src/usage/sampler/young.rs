//! Containers that may be over before the next sample: their memory peak is read with each drain.
//!
//! A sample a second sees a container of 200 ms one time in five. What it used of the CPU is booked
//! in the kernel; its memory peak is only in a file that goes with it. So while a container is
//! younger than [`YOUNG_NS`], that one file (`memory.peak`; v1: `memory.max_usage_in_bytes`) stays
//! open and is read every 100 ms: the figure is at most one tick older than the container's end.
//! Where no controller counts memory nothing is read here, and the peak stays unknown.

use std::collections::VecDeque;

use super::Sampler;
use super::container::Container;
use crate::cgroup::fs::{Folder, FsError};
use crate::usage::sample::MemoryNow;

/// Age up to which a container is looked at with each tick: at the usual interval two samples have seen
/// it by then.
pub(super) const YOUNG_NS: u64 = 2_000_000_000;
/// Looks of one tick at the most, each one `pread`; with more young containers they take turns.
pub(super) const MAX_YOUNG_LOOKS: usize = 256;

/// Who is young, next to be looked at first.
#[derive(Debug, Default)]
pub(super) struct Young(VecDeque<Newcomer>);

#[derive(Debug)]
struct Newcomer {
    id: u64,
    path: String,
    made_ns: u64,
}

impl Sampler {
    /// [`add`](Self::add) for a container whose making was seen, at `made_ns` (CLOCK_MONOTONIC).
    pub fn add_young(&mut self, id: u64, path: &str, made_ns: u64) -> Result<bool, FsError> {
        let new = self.add(id, path)?;
        if new {
            self.note_young(id, path, made_ns);
        }
        Ok(new)
    }

    /// It has become known when a container was made that is sampled already.
    pub fn turned_out_young(&mut self, id: u64, path: &str, made_ns: u64) {
        let known = self.young.0.iter().any(|newcomer| newcomer.id == id);
        if self.containers.contains_key(&id) && !known {
            self.note_young(id, path, made_ns);
        }
    }

    fn note_young(&mut self, id: u64, path: &str, made_ns: u64) {
        self.hold_peak(id);
        self.young.0.push_back(Newcomer {
            id,
            path: path.to_owned(),
            made_ns,
        });
    }

    /// Reads the memory peak of young containers; `each` is told of the id and bytes of those that
    /// have one.
    pub fn look_at_young(&mut self, now_ns: u64, mut each: impl FnMut(u64, u64)) {
        for _ in 0..self.young.0.len().min(MAX_YOUNG_LOOKS) {
            let Some(newcomer) = self.young.0.pop_front() else {
                break;
            };
            let Some(container) = self.containers.get(&newcomer.id) else {
                continue;
            };
            let is_counted =
                container.has_memory_controller() || self.look_for_controller(&newcomer);
            if is_counted && !self.look(newcomer.id, &mut each) {
                // The removal is told by its event, or found by the next sample.
                continue;
            }
            if now_ns.saturating_sub(newcomer.made_ns) < YOUNG_NS {
                self.young.0.push_back(newcomer);
            } else if let Some(container) = self.containers.get_mut(&newcomer.id) {
                let closed = container.let_peak_go();
                self.shared.descriptors = self.shared.descriptors.saturating_sub(closed);
            }
        }
    }

    /// The memory of a container at this moment.
    pub fn memory_now(&mut self, id: u64) -> MemoryNow {
        let container = self.containers.get(&id);
        container.map_or_else(MemoryNow::default, |found| {
            found.memory_now(&mut self.shared)
        })
    }

    /// False: the cgroup is gone.
    fn look(&mut self, id: u64, each: &mut impl FnMut(u64, u64)) -> bool {
        let Some(container) = self.containers.get(&id) else {
            return false;
        };
        self.shared.counters.young_looks += 1;
        match container.peak(&mut self.shared) {
            Ok(Some(bytes)) => each(id, bytes),
            Ok(None) => {}
            Err(_) => return false,
        }
        true
    }

    /// A runtime may switch the memory controller on after it made the folder: then the files are
    /// looked for again. True if there is one now.
    fn look_for_controller(&mut self, newcomer: &Newcomer) -> bool {
        let Some(root) = &self.roots.unified else {
            return false;
        };
        let folder = Folder::open(root, &newcomer.path).ok().flatten();
        let file = folder.and_then(|folder| folder.file("memory.current").ok().flatten());
        if file.is_none() {
            return false;
        }
        let left = self.shared.descriptors_left();
        let Ok(again) = Container::open(newcomer.id, &newcomer.path, &self.roots, left) else {
            return false;
        };
        if !again.has_memory_controller() {
            return false;
        }
        self.remove(newcomer.id);
        self.shared.descriptors += again.descriptors();
        self.containers.insert(newcomer.id, again);
        self.hold_peak(newcomer.id);
        true
    }

    fn hold_peak(&mut self, id: u64) {
        let left = self.shared.descriptors_left();
        if let Some(container) = self.containers.get_mut(&id)
            && let Ok(opened) = container.hold_peak(left)
        {
            self.shared.descriptors += opened;
        }
    }
}
