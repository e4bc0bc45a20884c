#![expect(
    clippy::disallowed_methods,
    reason = "shell: reads what the kernel says about itself"
)]
//! Gathers [`HostFacts`]. Each fact for itself: what cannot be read is `None`.
//!
//! Mounts nothing: where tracefs is not mounted, the tracepoints are unknown.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::{
    btf::Btf,
    facts::{self, Capabilities, CgroupFacts, HostFacts, KernelTypes, Lockdown},
    format::EventFormat,
};

/// The tracepoints whose layout the programs need.
const TRACEPOINTS: [&str; 3] = [
    "cgroup/cgroup_mkdir",
    "cgroup/cgroup_rmdir",
    "oom/mark_victim",
];

/// Looks once at everything. `cgroup_base`: where the host's cgroup mounts are, `/sys/fs/cgroup` or
/// the host's as the pod sees it.
pub fn facts(cgroup_base: &Path) -> HostFacts {
    let mounts = text("/proc/self/mounts").unwrap_or_default();
    let controllers =
        facts::v2_root(&mounts, cgroup_base).and_then(|root| text(root.join("cgroup.controllers")));
    let tracefs = tracefs(&mounts);
    HostFacts {
        kernel_release: line("/proc/sys/kernel/osrelease"),
        boot_id: line("/proc/sys/kernel/random/boot_id"),
        cgroup: CgroupFacts::parse(&mounts, cgroup_base, controllers.as_deref()),
        types: types(),
        tracepoints: TRACEPOINTS
            .iter()
            .filter_map(|name| Some(((*name).to_owned(), format(tracefs.as_deref()?, name)?)))
            .collect(),
        tracefs,
        lockdown: text("/sys/kernel/security/lockdown")
            .as_deref()
            .and_then(Lockdown::parse),
        jit_harden: line("/proc/sys/net/core/bpf_jit_harden").and_then(|value| value.parse().ok()),
        capabilities: text("/proc/self/status")
            .as_deref()
            .and_then(Capabilities::parse),
        possible_cpus: text("/sys/devices/system/cpu/possible")
            .as_deref()
            .and_then(facts::possible_cpus),
    }
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
