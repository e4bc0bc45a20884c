#![expect(
    clippy::disallowed_methods,
    reason = "shell: the build script compiles the kernel programs"
)]
//! Puts the object with the kernel programs into the agent.
//!
//! * `PLIMSOLL_EBPF_OBJECT` names one that is already built.
//! * Otherwise it is compiled from `ebpf/`. A compilation that fails is an error.
//! * Where no toolchain for BPF exists, the agent is built without kernel programs, and says so at
//!   run time: everything but the kernel can then still be compiled and tested.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

#[path = "../ebpf/toolchain.rs"]
mod toolchain;

fn main() -> Result<(), String> {
    let root =
        PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").ok_or("cargo sets CARGO_MANIFEST_DIR")?)
            .join("..");
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("cargo sets OUT_DIR")?);
    for watched in [
        "ebpf/src",
        "ebpf/abi",
        "ebpf/Cargo.toml",
        "ebpf/Cargo.lock",
        "ebpf/toolchain.rs",
        // Absent until it is installed: then this script looks again at each build.
        "target/tools/bin/bpf-linker",
    ] {
        println!("cargo::rerun-if-changed={}", root.join(watched).display());
    }
    println!("cargo::rerun-if-env-changed=PLIMSOLL_EBPF_OBJECT");
    println!("cargo::rerun-if-env-changed=PATH");

    let (object, absent) = object(&root, &out)?;
    let copy = out.join("plimsoll.bpf.o");
    match object {
        Some(object) => fs::copy(&object, &copy).map(drop),
        None => fs::write(&copy, []),
    }
    .map_err(|error| format!("cannot write {}: {error}", copy.display()))?;
    println!("cargo::rustc-env=PLIMSOLL_EBPF_ABSENT={absent}");
    Ok(())
}

/// The object, or why there is none.
fn object(root: &Path, out: &Path) -> Result<(Option<PathBuf>, String), String> {
    if let Some(path) = env::var_os("PLIMSOLL_EBPF_OBJECT") {
        let path = PathBuf::from(path);
        println!("cargo::rerun-if-changed={}", path.display());
        return Ok((Some(path), String::new()));
    }
    match toolchain::Toolchain::find(&root.join("target/tools")) {
        Ok(found) => {
            let arch = env::var("CARGO_CFG_TARGET_ARCH")
                .map_err(|error| format!("CARGO_CFG_TARGET_ARCH: {error}"))?;
            let object = found.build(&root.join("ebpf"), &out.join("ebpf"), &arch)?;
            Ok((Some(object), String::new()))
        }
        Err(missing) => {
            println!("cargo::warning=built without kernel programs: {missing}");
            Ok((None, missing.to_string()))
        }
    }
}
