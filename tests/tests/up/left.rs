//! What a run leaves on the machine, which must be nothing.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::live::GONE_WITHIN;

/// What a run could leave on the machine. Others may run beside: only names of a stage are looked
/// at, and a run's own folder.
#[derive(Debug)]
pub(crate) struct Left {
    pub(crate) namespaces: BTreeSet<String>,
    pub(crate) notes: BTreeSet<String>,
    pub(crate) mounts: BTreeSet<String>,
    pub(crate) cgroups: BTreeSet<String>,
    pub(crate) folders: BTreeSet<String>,
    /// Of stages, in `/run`: an empty one is left too.
    pub(crate) run: BTreeSet<String>,
}

impl Left {
    pub(crate) fn look(place: &Path) -> Self {
        let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
        let root = plimsoll_tests::cgroups::mounted_root().unwrap();
        let mut cgroups = BTreeSet::new();
        walk(&root, &mut cgroups);
        Self {
            namespaces: left_in(Path::new("/run/netns"), "plimsoll-"),
            notes: left_in(Path::new("/run/plimsoll-stage"), ""),
            mounts: mounts
                .lines()
                .filter(|line| line.contains("plimsoll"))
                .map(str::to_owned)
                .collect(),
            cgroups,
            folders: left_in(place, "plimsoll-up-"),
            run: left_in(Path::new("/run"), "plimsoll-"),
        }
    }

    pub(crate) fn all(&self) -> BTreeSet<String> {
        let kinds = [
            &self.namespaces,
            &self.notes,
            &self.mounts,
            &self.cgroups,
            &self.folders,
            &self.run,
        ];
        kinds.into_iter().flatten().cloned().collect()
    }
}

/// Nothing that was not there before is there for good. What a run beside this one makes meanwhile
/// comes and goes: it is not held against it.
#[track_caller]
pub(crate) fn assert_nothing_left(place: &Path, before: &Left) {
    let mut left = Left::look(place).all();
    left.retain(|name| !before.all().contains(name));
    let begin = Instant::now();
    while !left.is_empty() && begin.elapsed() < GONE_WITHIN {
        let now = Left::look(place).all();
        left.retain(|name| now.contains(name));
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(left.is_empty(), "left: {left:#?}");
}

pub(crate) fn left_in(folder: &Path, prefix: &str) -> BTreeSet<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten();
    entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| name.starts_with(prefix))
        .collect()
}

/// Cgroups of pods and of the sample host service.
pub(crate) fn walk(folder: &Path, found: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            let name = path.display().to_string();
            if name.contains("kubepods") || name.contains(plimsoll_tests::pods::HOST_SERVICE) {
                found.insert(name);
            }
            walk(&path, found);
        }
    }
}
