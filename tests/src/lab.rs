#![expect(
    clippy::disallowed_methods,
    reason = "shell: is init of the lab's machine"
)]
//! Init of a machine in the kernel lab: mounts, modules, settings; then what it was told to do.
//!
//! The machine is as a node of the fleet is: cgroup v2 with all controllers, `lockdown=integrity`
//! from the kernel's command line, `bpf_jit_harden=2`. It ends with one line, `lab: done`.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};
use rustix::mount::{MountFlags, mount};
use rustix::system::{RebootCommand, reboot};

/// File systems: type, place, whether the machine is of use without it.
const MOUNTS: [(&str, &str, bool); 9] = [
    ("devtmpfs", "/dev", true),
    ("proc", "/proc", true),
    ("sysfs", "/sys", true),
    ("cgroup2", "/sys/fs/cgroup", true),
    ("tracefs", "/sys/kernel/tracing", true),
    ("bpf", "/sys/fs/bpf", true),
    ("securityfs", "/sys/kernel/security", false),
    ("tmpfs", "/run", true),
    ("tmpfs", "/tmp", true),
];

/// Settings of the fleet.
const SETTINGS: [(&str, &str); 4] = [
    (
        "/sys/fs/cgroup/cgroup.subtree_control",
        "+cpu +io +memory +pids",
    ),
    ("/proc/sys/net/core/bpf_jit_harden", "2"),
    // Debian's own default is 3, which its kernels take for "CAP_SYS_ADMIN alone"; 2 is Linux's.
    ("/proc/sys/kernel/perf_event_paranoid", "2"),
    ("/proc/sys/kernel/panic_on_oops", "1"),
];

/// Let the kernel decompress a module (`MODULE_INIT_COMPRESSED_FILE`, linux/module.h).
const COMPRESSED: i32 = 4;

/// Whether this process is a machine's init, and not process 1 of a container (`confine`).
pub fn is_init() -> bool {
    std::process::id() == 1 && std::env::args().nth(1).is_none_or(|word| word != "confine")
}

/// Sets the machine up, runs `work`, says that it is done, and switches the machine off.
pub fn run(work: impl FnOnce() -> Result<()>) {
    // The firmware leaves the console in the middle of a line.
    say("");
    let result = set_up().and_then(|()| work());
    if let Err(e) = result {
        say(&format!("scenario init: fail {e:#}"));
    }
    say("lab: done");
    rustix::fs::sync();
    // QEMU runs with -no-reboot: a restart ends it.
    if let Err(e) = reboot(RebootCommand::Restart) {
        say(&format!("lab: cannot restart: {e}"));
    }
}

/// One line on the console.
pub fn say(line: &str) {
    use std::io::Write as _;
    // Nobody is left to tell when the console is gone.
    drop(writeln!(std::io::stdout(), "{line}"));
}

fn set_up() -> Result<()> {
    for (kind, place, needed) in MOUNTS {
        fs::create_dir_all(place).with_context(|| format!("making {place}"))?;
        if let Err(e) = mount(kind, place, kind, MountFlags::empty(), None)
            && needed
        {
            return Err(e).with_context(|| format!("mounting {kind} at {place}"));
        }
    }
    for (path, value) in SETTINGS {
        fs::write(path, value).with_context(|| format!("writing {value} to {path}"))?;
    }
    for name in modules()? {
        load(&name)?;
    }
    loopback()
}

/// A kernel starts with loopback down; agent, collector and their askers speak over it.
fn loopback() -> Result<()> {
    let status = Command::new("ip")
        .args(["link", "set", "lo", "up"])
        .status()
        .context("running ip")?;
    if !status.success() {
        bail!("ip link set lo up: {status}");
    }
    Ok(())
}

fn modules() -> Result<Vec<String>> {
    let entries = fs::read_dir("/modules").context("listing /modules")?;
    let mut names: Vec<String> = entries
        .filter_map(Result::ok)
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    Ok(names)
}

fn load(name: &str) -> Result<()> {
    let path = Path::new("/modules").join(name);
    let file = fs::File::open(&path).with_context(|| format!("opening {}", path.display()))?;
    let flags = if Path::new(name)
        .extension()
        .is_some_and(|ending| ending == "xz")
    {
        COMPRESSED
    } else {
        0
    };
    rustix::system::finit_module(&file, c"", flags).with_context(|| format!("loading {name}"))
}
