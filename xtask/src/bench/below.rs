#![expect(clippy::disallowed_methods, reason = "shell: installs a peer")]
//! The peer that the agent is measured beside: Meta's `below`, as crates.io has it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::{ebpf, install, shell};

const VERSION: &str = "0.9.0";
/// What it is built with, beside libelf and a compiler for its kernel programs.
const BUILD: [install::Needed; 2] = [("cc", "build-essential"), ("pkg-config", "pkg-config")];
/// The first major version of clang that compiles its kernel programs: 14, which is Debian 12's, breaks
/// off ("Incorrect flag for llvm.bpf.preserve.type.info").
const CLANG: u32 = 16;
/// Headers have no program to look for.
const LIBELF: (&str, &str) = ("/usr/include/libelf.h", "libelf-dev");

/// Where `below` is; installed into `target/tools` first if it is not there.
///
/// # Errors
/// It cannot be built here.
pub(crate) fn ensure(yes: bool) -> Result<PathBuf> {
    let tools = shell::root().join("target/tools");
    let program = tools.join("bin/below");
    if program.exists() {
        return Ok(program);
    }
    install::ensure(&BUILD, yes)?;
    let (header, package) = LIBELF;
    if !PathBuf::from(header).exists() {
        install::packages(&[package], yes)?;
    }
    let clang = clang(yes)?;
    let wrapper = tools.join("clang-for-below");
    fs::create_dir_all(&wrapper).with_context(|| format!("making {}", wrapper.display()))?;
    let script = wrapper.join("clang");
    // Its kernel programs assign pointers of differing types, an error since clang 16.
    let text = format!(
        "#!/bin/sh\nexec {} -Wno-incompatible-pointer-types \"$@\"\n",
        clang.display()
    );
    fs::write(&script, text).with_context(|| format!("writing {}", script.display()))?;
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755))
        .with_context(|| format!("making {} executable", script.display()))?;
    let path = std::env::var_os("PATH").unwrap_or_default();
    let first = std::iter::once(wrapper).chain(std::env::split_paths(&path));
    shell::run(
        shell::cargo(&[
            "install",
            "below",
            "--version",
            VERSION,
            "--locked",
            "--root",
        ])
        .arg(&tools)
        .env("PATH", std::env::join_paths(first).context("PATH")?),
    )?;
    if !program.exists() {
        bail!("cargo install brought no {}", program.display());
    }
    Ok(program)
}

/// A compiler that is new enough; installed if there is none.
fn clang(yes: bool) -> Result<PathBuf> {
    let new_enough = || {
        let numbered = (CLANG..CLANG + 16)
            .rev()
            .map(|major| format!("clang-{major}"));
        let mut found = numbered
            .chain(["clang".to_owned()])
            .filter_map(|name| shell::find(&name));
        found.find(|program| major(program).is_some_and(|major| major >= CLANG))
    };
    let packages = ["clang".to_owned(), format!("clang-{}", ebpf::LLVM)];
    for package in &packages {
        if let Some(program) = new_enough() {
            return Ok(program);
        }
        if !shell::has(package) {
            install::packages(&[package], yes)?;
        }
    }
    new_enough().with_context(|| format!("no clang of version {CLANG} or newer"))
}

/// The major version of a clang.
fn major(program: &Path) -> Option<u32> {
    let version = shell::read(&mut shell::command(program, &["-dumpversion"])).ok()?;
    version.split('.').next()?.trim().parse().ok()
}
