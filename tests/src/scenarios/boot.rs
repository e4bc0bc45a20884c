#![expect(
    clippy::disallowed_methods,
    reason = "shell: looks at the machine's settings"
)]
//! The lab's machine is as a node of the fleet is.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, bail};

use super::Context;

/// Files and what they must contain.
const SETTINGS: [(&str, &str); 6] = [
    ("/sys/kernel/security/lockdown", "[integrity]"),
    ("/proc/sys/net/core/bpf_jit_harden", "2"),
    ("/sys/fs/cgroup/cgroup.controllers", "cpu"),
    ("/sys/fs/cgroup/cgroup.controllers", "memory"),
    ("/sys/fs/cgroup/cgroup.controllers", "io"),
    (
        "/sys/kernel/tracing/events/cgroup/cgroup_mkdir/format",
        "path",
    ),
];

pub(super) fn facts(_: &Context) -> Result<String> {
    for (path, word) in SETTINGS {
        let text = fs::read_to_string(path).with_context(|| format!("reading {path}"))?;
        if !text.contains(word) {
            bail!("{path} is {:?}, without {word:?}", text.trim());
        }
    }
    for path in ["/sys/kernel/btf/vmlinux", "/sys/fs/bpf"] {
        if !Path::new(path).exists() {
            bail!("{path} is not there");
        }
    }
    let release =
        fs::read_to_string("/proc/sys/kernel/osrelease").context("reading the kernel's release")?;
    Ok(format!("kernel {}", release.trim()))
}
