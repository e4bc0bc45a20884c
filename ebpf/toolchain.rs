//! Finds a compiler for the kernel programs and runs it. Used by the agent's build script and by
//! `cargo xtask`, so that both build the same object the same way.
//!
//! Two toolchains do it: Debian's `rustc-web`, which comes with a compiled `core` for BPF, and
//! rustup's nightly, which compiles `core` from `rust-src`. Both need `bpf-linker`.

use std::{
    env,
    ffi::OsString,
    fmt, fs,
    path::{Path, PathBuf},
    process::Command,
};

/// The target that both spell alike. Big-endian machines would need `bpfeb`; none is supported.
const TARGET: &str = "bpfel-unknown-none";

/// A way to compile the kernel programs.
#[derive(Debug, Clone)]
pub(crate) struct Toolchain {
    compiler: Compiler,
    linker: PathBuf,
}

/// Which compiler.
#[derive(Debug, Clone)]
pub(crate) enum Compiler {
    /// A compiler that has a compiled `core` for BPF beside it.
    Prebuilt(PathBuf),
    /// rustup's nightly with `rust-src`, called through this rustup.
    Nightly(PathBuf),
}

/// What is missing, one line each.
#[derive(Debug, Clone)]
pub(crate) struct Missing(pub(crate) Vec<String>);

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("; "))
    }
}

impl Toolchain {
    /// Looks for a compiler and for `bpf-linker`: under `tools/bin`, then along `PATH`.
    pub(crate) fn find(tools: &Path) -> Result<Self, Missing> {
        let linker = on_path("bpf-linker", Some(&tools.join("bin")));
        let compiler = compiler();
        match (compiler, linker) {
            (Some(compiler), Some(linker)) => Ok(Self { compiler, linker }),
            (compiler, linker) => {
                let mut missing = Vec::new();
                if compiler.is_none() {
                    missing.push(
                        "no compiler for BPF (Debian: rustc-web and libstd-rust-web-dev-bpf; elsewhere: rustup \
                         toolchain install nightly --component rust-src)"
                            .to_owned(),
                    );
                }
                if linker.is_none() {
                    missing.push("no bpf-linker (cargo install bpf-linker)".to_owned());
                }
                Err(Missing(missing))
            }
        }
    }

    /// Compiles the programs in `source` for machines of architecture `arch` (as
    /// `CARGO_CFG_TARGET_ARCH` spells it) and returns the path of the object below `target_dir`.
    pub(crate) fn build(
        &self,
        source: &Path,
        target_dir: &Path,
        arch: &str,
    ) -> Result<PathBuf, String> {
        let mut command = self.command();
        // The outer cargo speaks to its build scripts through these; the inner one would obey.
        for (name, _) in env::vars_os() {
            let text = name.to_string_lossy();
            let keep = [
                "CARGO_HOME",
                "RUSTUP_HOME",
                "CARGO_NET_OFFLINE",
                "CARGO_HTTP_CAINFO",
                "RUSTUP_DIST_SERVER",
            ];
            if !keep.contains(&text.as_ref())
                && ["CARGO", "RUST", "CLIPPY"]
                    .iter()
                    .any(|prefix| text.starts_with(prefix))
            {
                command.env_remove(&name);
            }
        }
        command
            .args(["build", "--release", "--locked", "--target", TARGET, "--target-dir"])
            .arg(target_dir)
            .current_dir(source)
            .env("CARGO_CFG_BPF_TARGET_ARCH", arch)
            // -C target-cpu=v3: atomics with a result, in every kernel since 5.12.
            .env(
                "RUSTFLAGS",
                format!(
                    "-C debuginfo=2 -C target-cpu=v3 -C linker={} -C link-arg=--btf --cfg bpf_target_arch=\"{arch}\"{}",
                    self.linker.display(),
                    moved(source)
                ),
            );
        match &self.compiler {
            Compiler::Prebuilt(rustc) => command.env("RUSTC", rustc).env("RUSTC_BOOTSTRAP", "1"),
            Compiler::Nightly(_) => command.args(["-Z", "build-std=core"]),
        };
        let output = command
            .output()
            .map_err(|error| format!("cannot run {command:?}: {error}"))?;
        if !output.status.success() {
            return Err(format!(
                "{command:?} failed:\n{}",
                String::from_utf8_lossy(&output.stderr)
            ));
        }
        Ok(target_dir.join(TARGET).join("release/plimsoll"))
    }

    fn command(&self) -> Command {
        match &self.compiler {
            Compiler::Prebuilt(_) => {
                Command::new(env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo")))
            }
            Compiler::Nightly(rustup) => {
                let mut command = Command::new(rustup);
                command.args(["run", "nightly", "cargo"]);
                command
            }
        }
    }
}

/// Options by which the object has no path of the machine that compiled it: BTF names the file of each line.
fn moved(source: &Path) -> String {
    let home = env::var_os("HOME").map(|home| PathBuf::from(home).join(".cargo"));
    let cargo = env::var_os("CARGO_HOME").map(PathBuf::from).or(home);
    let registries = cargo.and_then(|home| fs::read_dir(home.join("registry/src")).ok());
    let registries = registries.into_iter().flatten().flatten();
    let mut moved: Vec<(PathBuf, &str)> = registries
        .map(|entry| (entry.path(), "/crates"))
        .chain(fs::canonicalize(source.join("..")).map(|root| (root, "/plimsoll")))
        .collect();
    moved.sort();
    let mut options = String::new();
    for (from, to) in moved {
        options += &format!(" --remap-path-prefix={}={to}", from.display());
    }
    options
}

/// The first compiler that can.
fn compiler() -> Option<Compiler> {
    let debian = Path::new("/usr/bin/rustc");
    if sysroot(Command::new(debian)).is_some_and(|root| has_core(&root)) {
        return Some(Compiler::Prebuilt(debian.to_owned()));
    }
    let rustup = on_path("rustup", None)?;
    let mut nightly = Command::new(&rustup);
    nightly.args(["run", "nightly", "rustc"]);
    let source = sysroot(nightly)?.join("lib/rustlib/src/rust/library/core");
    source.is_dir().then_some(Compiler::Nightly(rustup))
}

fn sysroot(mut rustc: Command) -> Option<PathBuf> {
    let output = rustc
        .args(["--print", "sysroot"])
        .env_remove("RUSTUP_TOOLCHAIN")
        .output()
        .ok()?;
    let path = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| PathBuf::from(path.trim()))
}

/// True if a compiled `core` for the target lies in this sysroot.
fn has_core(sysroot: &Path) -> bool {
    fs::read_dir(sysroot.join("lib/rustlib").join(TARGET).join("lib")).is_ok_and(|entries| {
        entries
            .flatten()
            .any(|entry| entry.file_name().to_string_lossy().starts_with("libcore-"))
    })
}

/// The first executable of that name in `first`, then along `PATH`.
pub(crate) fn on_path(name: &str, first: Option<&Path>) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    first
        .map(Path::to_owned)
        .into_iter()
        .chain(env::split_paths(&path))
        .map(|folder| folder.join(name))
        .find(|candidate| candidate.is_file())
}
