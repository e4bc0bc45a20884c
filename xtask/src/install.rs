//! What must be on the machine, and installing it with apt.

use std::io::{BufRead, IsTerminal};
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

use crate::shell;

/// A program and the Debian package that brings it.
pub(crate) type Needed = (&'static str, &'static str);

/// To link and to build C parts of dependencies (aws-lc).
pub(crate) const BUILD: [Needed; 2] = [("cc", "build-essential"), ("cmake", "cmake")];
/// For the stage's namespaces.
pub(crate) const STAGE: [Needed; 1] = [("ip", "iproute2")];
/// For the kernel lab.
pub(crate) const LAB: [Needed; 4] = [
    ("qemu-system-x86_64", "qemu-system-x86"),
    ("ip", "iproute2"),
    ("dpkg", "dpkg"),
    ("xz", "xz-utils"),
];

/// Installs what is missing: as root or with `yes` at once, else after asking.
///
/// # Errors
/// Something is missing and cannot, or shall not, be installed.
pub(crate) fn ensure(needed: &[Needed], yes: bool) -> Result<()> {
    packages(&missing(needed), yes)
}

/// Packages whose program is not there.
pub(crate) fn missing(needed: &[Needed]) -> Vec<&'static str> {
    let missing = needed.iter().filter(|(program, _)| !shell::has(program));
    missing.map(|(_, package)| *package).collect()
}

/// Whoever was asked said no, or could not be asked.
#[derive(Debug)]
pub(crate) struct Declined(String);

impl std::fmt::Display for Declined {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "missing: {}", self.0)
    }
}

impl std::error::Error for Declined {}

/// Installs the packages that are not there: as root or with `yes` at once, else after asking.
///
/// # Errors
/// They cannot, or shall not ([`Declined`]), be installed.
pub(crate) fn packages(wanted: &[&str], yes: bool) -> Result<()> {
    let missing: Vec<&str> = wanted
        .iter()
        .copied()
        .filter(|package| !is_installed(package))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let list = missing.join(" ");
    if !shell::has("apt-get") {
        bail!("missing: {list}; this is no Debian-like machine, please install them");
    }
    if !shell::is_root() && !yes && !agreed(&list) {
        bail!(Declined(list));
    }
    shell::say(&format!("installing {list}"));
    apt(&["update", "-qq"])?;
    let mut args = vec!["install", "-y", "-qq", "--no-install-recommends"];
    args.extend(missing);
    apt(&args)
}

/// Makes sure that a program of a crate (`NAME@VERSION`) is below `tools`, where `cargo install` puts it; where it is.
///
/// # Errors
/// It cannot be fetched or compiled.
pub(crate) fn cargo_tool(tools: &Path, of: &str, program: &str) -> Result<PathBuf> {
    let path = tools.join("bin").join(program);
    if !path.is_file() {
        shell::say(&format!("installing {of} into {}", tools.display()));
        let mut command = shell::cargo(&["install", "--locked", "--root"]);
        shell::run(command.arg(tools).arg(of))?;
    }
    Ok(path)
}

/// Whether dpkg has it whole. Where there is no dpkg nothing is known to be there.
fn is_installed(package: &str) -> bool {
    let query = ["--show", "--showformat=${db:Status-Status}", package];
    shell::read(&mut shell::command("dpkg-query", &query))
        .is_ok_and(|status| status.trim() == "installed")
}

fn apt(args: &[&str]) -> Result<()> {
    let mut command = if shell::is_root() {
        shell::command("apt-get", args)
    } else {
        let mut sudo = shell::command("sudo", &["apt-get"]);
        sudo.args(args);
        sudo
    };
    shell::run(command.env("DEBIAN_FRONTEND", "noninteractive"))
}

fn agreed(list: &str) -> bool {
    let stdin = std::io::stdin();
    if !stdin.is_terminal() {
        return false;
    }
    shell::say(&format!("Install {list} with sudo apt-get? [y/N]"));
    let mut answer = String::new();
    stdin.lock().read_line(&mut answer).is_ok() && matches!(answer.trim(), "y" | "Y" | "yes")
}
