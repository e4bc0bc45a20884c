#![expect(
    clippy::disallowed_methods,
    reason = "shell: reads what the kernel says about itself"
)]
//! Gathers [`HostFacts`]. Each fact for itself: what cannot be read is `None`.
//!
//! Mounts nothing: where tracefs is not mounted, the tracepoints are unknown.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use super::{
    btf::Btf,
    facts::{self, Capabilities, CgroupFacts, Hidden, HostFacts, KernelTypes, Lockdown},
    format::EventFormat,
};
use crate::cgroup::{fs::Roots, label};

/// Shows the lockdown mode, where securityfs is mounted.
const LOCKDOWN: &str = "/sys/kernel/security/lockdown";
/// Shown to root in the host's network namespace alone (net/core/sysctl_net_core.c).
const JIT_HARDEN: &str = "/proc/sys/net/core/bpf_jit_harden";

/// The tracepoints whose layout the programs need.
const TRACEPOINTS: [&str; 3] = [
    "cgroup/cgroup_mkdir",
    "cgroup/cgroup_rmdir",
    "oom/mark_victim",
];

/// Looks once at everything. `cgroup` is where the host's cgroup mount is seen (`host.cgroup`): what
/// is attached must see the same tree that is sampled, and not this pod's own.
pub fn facts(cgroup: &Path) -> HostFacts {
    let mounts = text("/proc/self/mounts").unwrap_or_default();
    let v2 = Roots::find(cgroup).unified;
    let controllers = v2
        .as_ref()
        .and_then(|root| text(root.join("cgroup.controllers")));
    // Every cgroup but the true root has this file (kernel: cgroup-v2.rst, "exists on non-root").
    let v2_is_part = v2
        .as_ref()
        .is_some_and(|root| root.join("cgroup.events").exists());
    let tracefs = tracefs(&mounts);
    let labels = |root| label::labels(root, label::label);
    let cgroup_labels = v2.as_deref().map(labels).unwrap_or_default();
    HostFacts {
        kernel_release: line("/proc/sys/kernel/osrelease"),
        boot_id: line("/proc/sys/kernel/random/boot_id"),
        cgroup: CgroupFacts {
            v2_is_part,
            ..CgroupFacts::parse(&mounts, v2, controllers.as_deref())
        },
        types: types(),
        tracepoints: TRACEPOINTS
            .iter()
            .filter_map(|name| Some(((*name).to_owned(), format(tracefs.as_deref()?, name)?)))
            .collect(),
        // One that every kernel has (kernel/trace/trace.c; `LOCKDOWN_TRACEFS` in fs/tracefs).
        tracefs_empty: tracefs
            .as_deref()
            .is_some_and(|path| !path.join("README").exists()),
        tracefs,
        lockdown: text(LOCKDOWN).as_deref().and_then(Lockdown::parse),
        jit_harden: line(JIT_HARDEN).and_then(|value| value.parse().ok()),
        perf_event_paranoid: line("/proc/sys/kernel/perf_event_paranoid")
            .and_then(|value| value.parse().ok()),
        capabilities: text("/proc/self/status")
            .as_deref()
            .and_then(Capabilities::parse),
        cgroup_labels,
        hidden: hidden(),
    }
}

/// A kernel without lockdown has no such file in a securityfs that is mounted, and has others there.
fn hidden() -> BTreeSet<Hidden> {
    let securityfs = Path::new(LOCKDOWN).parent();
    let mounted = securityfs.and_then(|path| fs::read_dir(path).ok()?.next());
    [
        (Hidden::Lockdown, mounted.is_none()),
        (Hidden::JitHarden, text(JIT_HARDEN).is_none()),
    ]
    .into_iter()
    .filter_map(|(fact, is_hidden)| is_hidden.then_some(fact))
    .collect()
}

/// The mount point of tracefs: as mounted, or where debugfs mounts it by itself when touched.
fn tracefs(mounts: &str) -> Option<PathBuf> {
    ["/sys/kernel/tracing", "/sys/kernel/debug/tracing"]
        .into_iter()
        .map(PathBuf::from)
        .find(|path| path.join("events").is_dir())
        .or_else(|| facts::tracefs(mounts))
}

fn format(tracefs: &Path, name: &str) -> Option<EventFormat> {
    EventFormat::parse(&text(tracefs.join("events").join(name).join("format"))?).ok()
}

fn types() -> Option<KernelTypes> {
    let bytes = fs::read("/sys/kernel/btf/vmlinux").ok()?;
    let btf = Btf::parse(&bytes).ok()?;
    Some(KernelTypes::of(&btf))
}

fn text(path: impl AsRef<Path>) -> Option<String> {
    fs::read_to_string(path).ok()
}

fn line(path: impl AsRef<Path>) -> Option<String> {
    text(path).map(|text| text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_attached_sees_the_tree_that_is_sampled() {
        let host = tempfile::tempdir().unwrap();
        assert_eq!(
            facts(host.path()).cgroup.v2,
            None,
            "never a tree from elsewhere"
        );
        fs::write(host.path().join("cgroup.controllers"), "cpu memory\n").unwrap();
        let root = facts(host.path()).cgroup;
        assert_eq!(root.v2.as_deref(), Some(host.path()));
        assert_eq!((root.v2_controllers.len(), root.v2_is_part), (2, false));
        fs::write(host.path().join("cgroup.events"), "populated 1\n").unwrap();
        assert!(facts(host.path()).cgroup.v2_is_part);
    }
}
