#![expect(
    clippy::disallowed_methods,
    reason = "shell: unpacks kernels and packs initramfs files"
)]
//! What a machine of the lab is made of: a kernel with modules, static binaries, an initramfs.

use std::fs;
use std::path::{Path, PathBuf};

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

/// Builds our programs so that they run without any library.
pub(crate) fn binaries() -> Result<Vec<PathBuf>> {
    let target_dir = folder().join("static");
    let mut cargo = shell::cargo(&["build", "--locked", "--release", "--target", TARGET]);
    for package in ["plimsoll-tests", "plimsoll-agent", "plimsoll-collector"] {
        cargo.args(["--package", package]);
    }
    cargo
        .arg("--bins")
        .arg("--target-dir")
        .arg(&target_dir)
        .env("RUSTFLAGS", "-C target-feature=+crt-static")
        // Build time is worth more here than the last percent of speed.
        .env("CARGO_PROFILE_RELEASE_LTO", "off")
        .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16")
        .env("CARGO_PROFILE_RELEASE_DEBUG", "0")
        .env("CARGO_PROFILE_RELEASE_STRIP", "symbols");
    shell::run(&mut cargo)?;
    Ok(OURS
        .iter()
        .map(|name| target_dir.join(TARGET).join("release").join(name))
        .collect())
}

/// Packs the first root file system.
pub(crate) fn initramfs(kernel: &Kernel, binaries: &[PathBuf]) -> Result<PathBuf> {
    let mut archive = Archive::default();
    for name in ["dev", "proc", "sys", "tmp", "run", "etc", "var", "root"] {
        archive.folder(name);
    }
    // Init's output goes here before anything is mounted.
    archive.device("dev/console", 5, 1);
    for binary in binaries {
        let name = binary.file_name().unwrap_or_default().to_string_lossy();
        archive.file(&format!("bin/{name}"), &read(binary)?);
    }
    archive.link("init", "bin/plimsoll-lab");
    for program in PROGRAMS {
        let path = shell::find(program).with_context(|| format!("{program} is not installed"))?;
        archive.file(&format!("bin/{program}"), &read(&path)?);
        for library in libraries(&path)? {
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
