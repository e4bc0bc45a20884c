//! The system calls that a container may make under `seccompProfile: RuntimeDefault`: those of containerd, as
//! `tests/recorded/runtime-default.json` has them, for the capabilities that the container is given.
//!
//! A name that [`seccompiler`] does not know on this machine (of 32-bit machines, or younger than its table) is refused
//! here, which is stricter than the runtime.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use seccompiler::{BpfProgram, TargetArch, apply_filter, compile_from_json};
use serde::Deserialize;
use serde_json::{Value, json};

const RECORDED: &str = include_str!("../../recorded/runtime-default.json");
/// What is answered to a call that is not allowed: the runtimes' default, and `ENOSYS`, which a C library takes for an
/// older kernel and tries the call's predecessor (asm-generic/errno).
const EPERM: u32 = 1;
const ENOSYS: u32 = 38;
/// The name of the only filter in a document.
const FILTER: &str = "container";

#[derive(Debug, Deserialize)]
struct Profile {
    allowed: Vec<String>,
    /// By architecture, as Rust calls it.
    allowed_on: BTreeMap<String, Vec<String>>,
    /// By capability, without `CAP_`.
    allowed_with: BTreeMap<String, Vec<String>>,
    allowed_when: Vec<Condition>,
    /// Answered with `ENOSYS`.
    not_implemented: Vec<String>,
}

/// A call that is allowed with some values of an argument.
#[derive(Debug, Deserialize)]
struct Condition {
    syscall: String,
    argument: u8,
    op: Value,
    value: u64,
}

/// What the kernel is given; each of them has to allow a call.
#[derive(Debug)]
pub(super) struct Filters([BpfProgram; 2]);

impl Filters {
    /// For a container with these capabilities.
    ///
    /// # Errors
    /// The recorded profile, or this machine, is unknown to the compiler.
    pub(super) fn of(capabilities: &[String]) -> Result<Self> {
        let profile: Profile =
            serde_json::from_str(RECORDED).context("reading runtime-default.json")?;
        let arch = TargetArch::try_from(std::env::consts::ARCH)
            .context("compiling seccomp filters for this machine")?;
        let here = profile.allowed_on.get(std::env::consts::ARCH);
        let with = capabilities
            .iter()
            .filter_map(|name| profile.allowed_with.get(name));
        let plain = profile.allowed.iter().chain(here.into_iter().flatten());
        let plain = plain.chain(with.flatten()).map(|name| call(name));
        // Let through here, for the other to answer.
        let answered = profile.not_implemented.iter().map(|name| call(name));
        let allowed: Vec<Value> = plain
            .chain(answered.clone())
            .chain(profile.allowed_when.iter().map(Condition::rule))
            .filter(|rule| is_known(rule, arch))
            .collect();
        Ok(Self([
            compile(&json!({"errno": EPERM}), &json!("allow"), &allowed, arch)?,
            compile(
                &json!("allow"),
                &json!({"errno": ENOSYS}),
                &answered.collect::<Vec<_>>(),
                arch,
            )?,
        ]))
    }

    /// From now on, for this thread and what it becomes.
    ///
    /// # Errors
    /// The kernel has no seccomp filters.
    pub(super) fn apply(&self) -> Result<()> {
        self.0
            .iter()
            .try_for_each(|filter| apply_filter(filter))
            .context("installing the container's seccomp filter")
    }
}

impl Condition {
    fn rule(&self) -> Value {
        let Self {
            syscall,
            argument,
            op,
            value,
        } = self;
        json!({"syscall": syscall, "args": [{"index": argument, "type": "dword", "op": op, "val": value}]})
    }
}

fn call(name: &str) -> Value {
    json!({"syscall": name})
}

fn is_known(rule: &Value, arch: TargetArch) -> bool {
    compile(
        &json!("allow"),
        &json!({"errno": EPERM}),
        std::slice::from_ref(rule),
        arch,
    )
    .is_ok()
}

fn compile(
    otherwise: &Value,
    then: &Value,
    rules: &[Value],
    arch: TargetArch,
) -> Result<BpfProgram> {
    let document = json!({FILTER: {
        "mismatch_action": otherwise, "match_action": then, "filter": rules,
    }});
    compile_from_json(document.to_string().as_bytes(), arch)
        .context("compiling a seccomp filter")?
        .remove(FILTER)
        .context("a compiled seccomp filter")
}

#[cfg(test)]
mod tests {
    use std::thread;

    use rustix::io::Errno;
    use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};
    use rustix::thread::UnshareFlags;

    use super::*;

    /// What `asked` says in a container with these capabilities; the filter ends with its thread.
    fn inside<T: Send + 'static>(
        capabilities: &[&str],
        asked: impl FnOnce() -> T + Send + 'static,
    ) -> T {
        let capabilities: Vec<_> = capabilities.iter().map(|&name| name.to_owned()).collect();
        let filters = Filters::of(&capabilities).unwrap();
        let run = move || {
            filters.apply().unwrap();
            asked()
        };
        thread::spawn(run).join().unwrap()
    }

    fn own_descriptor() -> Option<Errno> {
        let this = pidfd_open(getpid(), PidfdFlags::empty()).unwrap();
        pidfd_getfd(this, 0, PidfdGetfdFlags::empty()).err()
    }

    #[test]
    fn a_capability_opens_its_system_calls_and_no_others() {
        assert_eq!(own_descriptor(), None, "without a filter");
        assert_eq!(inside(&[], own_descriptor), Some(Errno::PERM));
        assert_eq!(inside(&["SYS_PTRACE"], own_descriptor), None);
        assert_eq!(
            inside(&["BPF", "PERFMON"], own_descriptor),
            Some(Errno::PERM)
        );
    }

    #[test]
    fn namespaces_are_refused_and_threads_are_not() {
        #[expect(
            deprecated,
            reason = "its replacement is unsafe for the sake of a flag that is not used here"
        )]
        let unshare = || rustix::thread::unshare(UnshareFlags::NEWUTS).err();
        assert_eq!(inside(&["BPF"], unshare), Some(Errno::PERM));
        // glibc asks for clone3 first, and falls back to clone where that is not implemented.
        let thread = || thread::spawn(|| 7).join().unwrap();
        assert_eq!(inside(&[], thread), 7);
    }

    #[test]
    fn sockets_of_the_machine_below_are_refused() {
        use rustix::net::{AddressFamily, SocketType, socket};
        let family = |family| move || socket(family, SocketType::STREAM, None).err();
        assert_eq!(inside(&[], family(AddressFamily::INET)), None);
        assert_eq!(
            inside(&[], family(AddressFamily::NETLINK)),
            Some(Errno::SOCKTNOSUPPORT)
        );
        assert_eq!(inside(&[], family(AddressFamily::VSOCK)), Some(Errno::PERM));
    }
}
