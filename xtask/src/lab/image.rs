#![expect(
    clippy::disallowed_methods,
    reason = "shell: unpacks kernels and packs initramfs files"
)]
//! What a machine of the lab is made of: a kernel with modules, static binaries, an initramfs.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::cpio::Archive;
use super::{KERNELS, folder};
use crate::shell;

/// Kernel modules that scenarios need, with what they depend upon, in loading order.
const MODULES: [&str; 8] = [
    "drivers/net/veth.ko",
    "drivers/net/dummy.ko",
    "net/sched/sch_ingress.ko",
    "lib/libcrc32c.ko",
    "net/netfilter/nfnetlink.ko",
    "net/netfilter/nf_tables.ko",
    "net/sched/cls_bpf.ko",
    "net/sched/act_bpf.ko",
];
/// Programs of the lab's host that go into the machine.
const PROGRAMS: [&str; 1] = ["ip"];
/// Our programs; the first is init.
const OURS: [&str; 4] = [
    "plimsoll-lab",
    "plimsoll-agent",
    "plimsoll-collector",
    "plimsoll",
];
const TARGET: &str = "x86_64-unknown-linux-gnu";

/// An unpacked kernel package.
#[derive(Debug)]
pub(crate) struct Kernel {
    name: String,
    /// Boot image.
    pub(crate) image: PathBuf,
    modules: PathBuf,
}

/// Fetches a kernel with apt and unpacks it, unless it is there.
pub(crate) fn kernel(name: &str) -> Result<Kernel> {
    let Some((_, meta)) = KERNELS.iter().find(|(known, _)| *known == name) else {
        bail!(
            "no kernel {name} in the lab: there are {}",
            KERNELS.map(|(known, _)| known).join(", ")
        );
    };
    let folder = folder().join(name);
    if !folder.join("complete").exists() {
        fetch(meta, &folder)?;
    }
    let boot = folder.join("boot");
    let image = only_entry(&boot, "vmlinuz-")?;
    let release = image
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .replace("vmlinuz-", "");
    let modules = ["lib/modules", "usr/lib/modules"]
        .map(|place| folder.join(place).join(&release).join("kernel"))
        .into_iter()
        .find(|path| path.is_dir())
        .with_context(|| format!("kernel {release} has no modules"))?;
    Ok(Kernel {
        name: name.to_owned(),
        image,
        modules,
    })
}

fn fetch(meta: &str, folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
    let depends = shell::read(&mut shell::command("apt-cache", &["depends", meta]))?;
    let package = depends
        .lines()
        .find_map(|line| line.trim().strip_prefix("Depends: "))
        .with_context(|| format!("apt knows no kernel behind {meta}; apt-get update may help"))?
        .to_owned();
    shell::run(shell::command("apt-get", &["download", &package]).current_dir(folder))?;
    let deb = only_entry(folder, &format!("{package}_"))?;
    shell::run(shell::command("dpkg", &["-x"]).arg(&deb).arg(folder))?;
    fs::remove_file(&deb).with_context(|| format!("removing {}", deb.display()))?;
    let mark = folder.join("complete");
    fs::write(&mark, package).with_context(|| format!("writing {}", mark.display()))
}

fn only_entry(folder: &Path, prefix: &str) -> Result<PathBuf> {
    let entries = fs::read_dir(folder).with_context(|| format!("listing {}", folder.display()))?;
    let mut found: Vec<PathBuf> = entries
        .filter_map(Result::ok)
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(prefix))
        .map(|entry| entry.path())
        .collect();
    found.sort();
    found
        .pop()
        .with_context(|| format!("{} holds no {prefix}…", folder.display()))
}

/// Builds our programs so that they run without any library; the folder that they are in.
pub(crate) fn programs() -> Result<PathBuf> {
    let mut build = fixed("build", &["--bins"]);
    for package in ["plimsoll-tests", "plimsoll-agent", "plimsoll-collector"] {
        build.args(["--package", package]);
    }
    shell::run(&mut build)?;
    Ok(target_dir().join(TARGET).join("release"))
}

/// What goes into the machine: name there, file here.
pub(crate) fn binaries() -> Result<Vec<(String, PathBuf)>> {
    let release = programs()?;
    let mut binaries: Vec<(String, PathBuf)> = OURS
        .iter()
        .map(|name| ((*name).to_owned(), release.join(name)))
        .collect();
    let mut tests = fixed("test", &["--no-run", "--message-format=json"]);
    tests.args(["--package", "plimsoll-tests", "--test", "kernel"]);
    let messages = shell::read(&mut tests)?;
    let executable = messages.lines().filter_map(executable).next_back();
    binaries.push((
        "kernel-tests".to_owned(),
        executable.context("cargo names no test program")?,
    ));
    Ok(binaries)
}

fn target_dir() -> PathBuf {
    folder().join("static")
}

/// A cargo command whose programs are linked against nothing at run time.
fn fixed(what: &str, args: &[&str]) -> Command {
    let mut cargo = shell::cargo(&[what, "--locked", "--release", "--target", TARGET]);
    cargo
        .args(args)
        .arg("--target-dir")
        .arg(target_dir())
        .env("RUSTFLAGS", "-C target-feature=+crt-static")
        // Build time is worth more here than the last percent of speed.
        .env("CARGO_PROFILE_RELEASE_LTO", "off")
        .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16")
        .env("CARGO_PROFILE_RELEASE_DEBUG", "0")
        .env("CARGO_PROFILE_RELEASE_STRIP", "symbols");
    cargo
}

/// The program that a message of cargo announces (`compiler-artifact`).
fn executable(message: &str) -> Option<PathBuf> {
    let message: serde_json::Value = serde_json::from_str(message).ok()?;
    (message["target"]["name"] == "kernel")
        .then(|| message["executable"].as_str().map(PathBuf::from))?
}

/// Packs the first root file system; `guests` are further programs of this host.
pub(crate) fn initramfs(
    kernel: &Kernel,
    binaries: &[(String, PathBuf)],
    guests: &[PathBuf],
) -> Result<PathBuf> {
    let mut archive = Archive::default();
    for name in ["dev", "proc", "sys", "tmp", "run", "etc", "var", "root"] {
        archive.folder(name);
    }
    // Init's output goes here before anything is mounted.
    archive.device("dev/console", 5, 1);
    for (name, binary) in binaries {
        archive.file(&format!("bin/{name}"), &read(binary)?);
    }
    archive.link("init", "bin/plimsoll-lab");
    let mut programs = guests.to_vec();
    for program in PROGRAMS {
        programs.push(shell::find(program).with_context(|| format!("{program} is not installed"))?);
    }
    let mut packed = BTreeSet::new();
    for path in programs {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        archive.file(&format!("bin/{name}"), &read(&path)?);
        for library in libraries(&path)? {
            if !packed.insert(library.clone()) {
                continue;
            }
            let inside = library.trim_start_matches('/').to_owned();
            archive.file(&inside, &read(Path::new(&library))?);
        }
    }
    for (order, module) in MODULES.iter().enumerate() {
        let name = module.rsplit_once('/').map_or(*module, |(_, name)| name);
        // Compressed since 6.12; built in where neither is there.
        for ending in ["", ".xz"] {
            let path = kernel.modules.join(format!("{module}{ending}"));
            if path.exists() {
                archive.file(&format!("modules/{order:02}-{name}{ending}"), &read(&path)?);
            }
        }
    }
    let path = folder().join(format!("initramfs-{}.cpio", kernel.name));
    fs::write(&path, archive.finish()).with_context(|| format!("writing {}", path.display()))?;
    Ok(path)
}

/// Absolute paths of a program's shared libraries and its loader, from `ldd`.
fn libraries(program: &Path) -> Result<Vec<String>> {
    let text = shell::read(shell::command("ldd", &[]).arg(program))?;
    Ok(text
        .split_whitespace()
        .filter(|word| word.starts_with('/'))
        .map(str::to_owned)
        .collect())
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("reading {}", path.display()))
}
