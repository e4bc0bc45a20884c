#![expect(
    clippy::disallowed_methods,
    reason = "shell: fetches kernels, writes initramfs files, starts QEMU"
)]
//! The kernel lab: Debian's cloud kernels in QEMU, with our test runner as init.
//!
//! Packages come from apt, binaries are built statically, and everything lies in `target/lab`.
//! What runs inside, and whether it passed, is the runner's to say (`plimsoll-lab init`); this
//! side demands that it says so, exactly once, before the time is up.

pub(crate) mod command;
mod cpio;
mod image;
mod recorded;
mod verdict;

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

pub(crate) use self::image::programs;
pub(crate) use self::verdict::Verdict;
use crate::{install, shell};

/// Kernels of the fleet that Debian has: name and metapackage.
pub(crate) const KERNELS: [(&str, &str); 2] = [
    ("6.1", "linux-image-cloud-amd64"),
    ("6.12", "linux-image-6.12-cloud-amd64"),
];
/// Boot without one line of output: QEMU or the kernel hangs.
const SILENT_AT_MOST: Duration = Duration::from_mins(3);
/// Whole run without `up --seconds`.
const RUN_AT_MOST: Duration = Duration::from_mins(20);

/// What the machine is to do.
#[derive(Clone, Debug, Default)]
pub(crate) struct Job {
    /// `6.1` or `6.12`.
    pub(crate) kernel: String,
    /// Words for init, after `--` on the kernel's command line.
    pub(crate) init: Vec<String>,
    /// Time allowed beyond the usual.
    pub(crate) extra: Duration,
    /// Programs of this host that go into the machine beside ours, with their libraries.
    pub(crate) guests: Vec<PathBuf>,
    /// One nanosecond of the machine is one instruction (QEMU's `-icount`): CPU time there does
    /// not depend upon what else this host does, and idle time takes none here.
    pub(crate) counted: bool,
    /// `lockdown=confidentiality` instead of `integrity`, as the fleet has it.
    pub(crate) confidential: bool,
}

/// Whether this host can have a lab at all.
pub(crate) fn is_possible() -> bool {
    cfg!(target_arch = "x86_64") && shell::has("apt-get")
}

/// Fetches and builds what the machines of all kernels need, so that they can be run side by side.
pub(crate) fn prepare() -> Result<()> {
    for (kernel, _) in KERNELS {
        image::kernel(kernel)?;
    }
    image::binaries().map(drop)
}

/// Boots one machine, shows its lines through `show`, and returns what it said.
///
/// # Errors
/// A kernel, a binary or QEMU is not to be had.
pub(crate) fn run(job: &Job, show: &mut dyn FnMut(&str)) -> Result<Verdict> {
    let missing = install::missing(&install::LAB);
    if !missing.is_empty() {
        bail!("the lab needs {}", missing.join(", "));
    }
    let kernel = image::kernel(&job.kernel)?;
    let binaries = image::binaries()?;
    let initramfs = image::initramfs(&kernel, &binaries, &job.guests)?;
    boot(job, &kernel.image, &initramfs, show)
}

fn boot(job: &Job, kernel: &Path, initramfs: &Path, show: &mut dyn FnMut(&str)) -> Result<Verdict> {
    let begin = Instant::now();
    let mut child = qemu(kernel, initramfs, job)?;
    let stdout = child.stdout.take().context("QEMU's output")?;
    let (sender, lines) = channel();
    let reader = std::thread::spawn(move || {
        for line in BufReader::new(stdout).split(b'\n').map_while(Result::ok) {
            let text = String::from_utf8_lossy(&line)
                .trim_end_matches('\r')
                .to_owned();
            if sender.send(text).is_err() {
                return;
            }
        }
    });
    let mut verdict = Verdict::default();
    let deadline = begin + RUN_AT_MOST + job.extra;
    loop {
        let left = deadline
            .saturating_duration_since(Instant::now())
            .min(SILENT_AT_MOST + job.extra);
        match lines.recv_timeout(left) {
            Ok(line) => {
                let over = verdict.take(&line);
                show(&line);
                if over {
                    break;
                }
            }
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => {
                verdict.broken = Some(format!("no word for {} s", left.as_secs()));
                break;
            }
        }
    }
    end(&mut child);
    drop(lines);
    if reader.join().is_err() {
        bail!("the thread that reads QEMU's output panicked");
    }
    verdict.seconds = begin.elapsed().as_secs_f64();
    Ok(verdict)
}

/// QEMU ends by itself when the machine does; a hung one is killed.
fn end(child: &mut Child) {
    for _ in 0..50 {
        if matches!(child.try_wait(), Ok(Some(_))) {
            return;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    // Gone already is what we want.
    drop(child.kill());
    drop(child.wait());
}

/// Software emulation everywhere: a machine without nested virtualisation runs the same lab.
fn qemu(kernel: &Path, initramfs: &Path, job: &Job) -> Result<Child> {
    let lockdown = if job.confidential {
        "confidentiality"
    } else {
        "integrity"
    };
    let append = format!(
        "console=ttyS0 quiet panic=-1 lockdown={lockdown} random.trust_cpu=on rdinit=/init -- {}",
        job.init.join(" ")
    );
    let mut command = shell::command(
        "qemu-system-x86_64",
        &[
            "-accel",
            "tcg,thread=single",
            "-cpu",
            "max",
            "-smp",
            "2",
            "-m",
            "2048",
        ],
    );
    if job.counted {
        command.args(["-icount", "shift=0,sleep=off"]);
    }
    command
        .arg("-kernel")
        .arg(kernel)
        .arg("-initrd")
        .arg(initramfs)
        .args(["-append", &append])
        .args([
            "-nographic",
            "-no-reboot",
            "-nic",
            "none",
            "-monitor",
            "none",
            "-serial",
            "stdio",
        ])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("starting qemu-system-x86_64")
}

/// Where the lab keeps its files.
fn folder() -> PathBuf {
    shell::root().join("target/lab")
}
