#![expect(
    clippy::disallowed_methods,
    reason = "shell: installs compilers and runs them"
)]
//! The toolchain of the kernel programs: looked for, installed if missing, and run.
//!
//! How it is found and called lies in `ebpf/toolchain.rs`, which the agent's build script uses as
//! well. This module adds what a build script must not do: install things.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, bail};

use crate::{install, shell};

#[path = "../../ebpf/toolchain.rs"]
mod toolchain;

/// Debian's packages: a compiler with a compiled `core` for BPF, and what `bpf-linker` links with.
const PACKAGES: [&str; 6] = [
    "rustc-web",
    "libstd-rust-web-dev-bpf",
    "llvm-22-dev",
    "libpolly-22-dev",
    "libzstd-dev",
    "zlib1g-dev",
];
/// The linker; its LLVM must not be older than the compiler's, see [`install_linker`].
const LINKER: &str = "bpf-linker@0.13.0";
/// The LLVM of Debian's `rustc-web`.
pub(crate) const LLVM: &str = "22";

/// Makes sure that the kernel programs can be compiled: installs Debian's packages (as root, where
/// there is apt; or with `yes`, through sudo) and `bpf-linker` into `target/tools`. Prints what it
/// does.
///
/// # Errors
/// It cannot be had here: the agent would be built without kernel programs.
pub(crate) fn ensure_toolchain(root: &Path, yes: bool) -> anyhow::Result<()> {
    let tools = root.join("target/tools");
    let Err(missing) = toolchain::Toolchain::find(&tools) else {
        return Ok(());
    };
    shell::say(&format!("kernel programs: {missing}"));
    let way = compiler(yes)?;
    if toolchain::on_path("bpf-linker", Some(&tools.join("bin"))).is_none() {
        install_linker(&tools, way)?;
    }
    match toolchain::Toolchain::find(&tools) {
        Ok(_) => Ok(()),
        Err(missing) => bail!("kernel programs: still {missing}"),
    }
}

/// Where the compiler for BPF comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Debian,
    Rustup,
}

/// Installs a compiler: Debian's packages where there is apt, else (or where they cannot be had)
/// rustup's nightly with the sources of `core`.
fn compiler(yes: bool) -> anyhow::Result<Way> {
    let rustup = toolchain::on_path("rustup", None).is_some();
    if toolchain::on_path("apt-get", None).is_some() {
        match install::packages(&PACKAGES, yes) {
            Ok(()) => return Ok(Way::Debian),
            // Who wants nothing installed wants no toolchain of rustup's either.
            Err(error) if !rustup || error.is::<install::Declined>() => return Err(error),
            Err(error) => shell::say(&format!("kernel programs: {error:#}; trying rustup")),
        }
    } else if !rustup {
        bail!("neither apt-get nor rustup is here: install {LINKER} and a compiler for BPF");
    }
    shell::run(Command::new("rustup").args([
        "toolchain",
        "install",
        "nightly",
        "--profile",
        "minimal",
        "--component",
        "rust-src",
    ]))?;
    Ok(Way::Rustup)
}

/// Compiles the kernel programs for machines of this architecture; the path of the object.
pub(crate) fn build_ebpf(root: &Path) -> anyhow::Result<PathBuf> {
    build_ebpf_of(root, root, &root.join("target/ebpf"))
}

/// The same for the sources below another root, with the tools of this one, into a folder.
pub(crate) fn build_ebpf_of(tools: &Path, root: &Path, target: &Path) -> anyhow::Result<PathBuf> {
    let found = toolchain::Toolchain::find(&tools.join("target/tools"));
    let found = found
        .map_err(|missing| anyhow::anyhow!("kernel programs cannot be compiled: {missing}"))?;
    found
        .build(&root.join("ebpf"), target, std::env::consts::ARCH)
        .map_err(anyhow::Error::msg)
}

fn install_linker(tools: &Path, way: Way) -> anyhow::Result<()> {
    shell::say(&format!("installing {LINKER} into {}", tools.display()));
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command
        .args(["install", "--locked", "--root"])
        .arg(tools)
        .arg(LINKER);
    if way == Way::Debian {
        // Linked against Debian's LLVM, because its compiler writes that LLVM's bitcode.
        command
            .args(["--no-default-features", "--features"])
            .arg(format!("llvm-{LLVM}"));
        command.env("LLVM_PREFIX", format!("/usr/lib/llvm-{LLVM}"));
    }
    // So that it does not ask for the folder to be put there: it is looked for by its place.
    let path = std::env::var_os("PATH").unwrap_or_default();
    let with_tools = std::env::split_paths(&path).chain([tools.join("bin")]);
    command.env("PATH", std::env::join_paths(with_tools).context("PATH")?);
    shell::run(&mut command)
}
