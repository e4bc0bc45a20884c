#![expect(clippy::disallowed_methods, reason = "shell: looks at the host once")]
//! What a host gives to scenarios, and the reasons to skip one.

use std::fs;
use std::path::Path;

use crate::{cgroups, lab, plimsoll};

/// What a scenario cannot do without.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// User id 0.
    Root,
    /// A machine of the lab: settings of the fleet, nobody else on it.
    Lab,
    /// The cgroup v2 cpu controller.
    Cpu,
    /// The cgroup v2 memory controller.
    Memory,
    /// Network namespaces and `ip`.
    Namespaces,
    /// BTF, which the kernel programs are fitted to the kernel by.
    Bpf,
    /// Agent and collector.
    Programs,
    /// `lockdown=confidentiality`: BPF may not read kernel memory.
    Confidentiality,
}

/// What is there.
#[derive(Clone, Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent facts, each named"
)]
pub struct Facts {
    /// User id 0.
    pub root: bool,
    /// Init of a machine of the lab.
    pub lab: bool,
    /// cgroup v2 controllers at the root.
    pub controllers: Vec<String>,
    /// `/proc/self/ns/net`, and `ip` on the path.
    pub namespaces: bool,
    /// `/sys/kernel/btf/vmlinux`.
    pub btf: bool,
    /// Agent and collector are built.
    pub programs: bool,
    /// The kernel's lockdown mode is `confidentiality`.
    pub confidential: bool,
}

impl Facts {
    /// Looks.
    pub fn gather(programs: &Path) -> Self {
        let controllers = cgroups::mounted_root()
            .ok()
            .and_then(|root| fs::read_to_string(root.join("cgroup.controllers")).ok())
            .unwrap_or_default();
        let ip = ["/usr/sbin/ip", "/sbin/ip", "/usr/bin/ip", "/bin/ip"];
        Self {
            root: rustix::process::geteuid().is_root(),
            lab: lab::is_init(),
            controllers: controllers.split_whitespace().map(str::to_owned).collect(),
            namespaces: Path::new("/proc/self/ns/net").exists()
                && ip.iter().any(|p| Path::new(p).exists()),
            btf: Path::new("/sys/kernel/btf/vmlinux").exists(),
            programs: plimsoll::are_built(programs),
            confidential: fs::read_to_string("/sys/kernel/security/lockdown")
                .is_ok_and(|text| text.contains("[confidentiality]")),
        }
    }

    /// Why a need is not met; `None` if it is.
    pub fn missing(&self, need: Need) -> Option<&'static str> {
        let has = |name: &str| self.controllers.iter().any(|c| c == name);
        let (met, reason) = match need {
            Need::Root => (self.root, "needs root"),
            Need::Lab => (self.lab, "runs in the kernel lab only"),
            Need::Cpu => (has("cpu"), "the cgroup v2 tree has no cpu controller"),
            Need::Memory => (has("memory"), "the cgroup v2 tree has no memory controller"),
            Need::Namespaces => (
                self.namespaces,
                "needs network namespaces and ip (iproute2)",
            ),
            Need::Bpf => (self.btf, "the kernel has no BTF"),
            Need::Confidentiality => (
                self.confidential,
                "needs a machine with lockdown=confidentiality",
            ),
            Need::Programs => (
                self.programs,
                "plimsoll-agent and plimsoll-collector are not built",
            ),
        };
        (!met).then_some(reason)
    }
}
