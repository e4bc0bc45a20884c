#![expect(
    clippy::disallowed_methods,
    reason = "shell: runs the tests and looks at the clock"
)]
//! `cargo xtask test`: every test, each step with its time, and a sum that adds up.

mod count;

use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use clap::Args;

use self::count::Sum;
use crate::{ebpf, install, lab, manifests, shell, up};

/// What to run.
#[derive(Debug, Args)]
pub(crate) struct Test {
    /// Leave out the kernel lab, fuzzing and long fault runs.
    #[arg(long)]
    fast: bool,
    /// Install what is missing without asking.
    #[arg(long)]
    yes: bool,
}

/// Seconds of fuzzing for each target.
const FUZZ_SECONDS: &str = "10";

impl Test {
    pub(crate) fn run(&self) -> Result<()> {
        install::ensure(&install::BUILD, self.yes)?;
        ebpf::ensure_toolchain(&shell::root(), self.yes)?;
        let mut sum = Sum::default();
        step(&mut sum, "format", |sum| {
            check(
                sum,
                "format",
                &mut shell::cargo(&["fmt", "--all", "--check"]),
            )
        });
        step(&mut sum, "lints", |sum| {
            let mut clippy = shell::cargo(&[
                "clippy",
                "--locked",
                "--workspace",
                "--all-targets",
                "--quiet",
            ]);
            check(sum, "lints", clippy.args(["--", "-D", "warnings"]))
        });
        // Tests start the programs as processes, from beside themselves.
        step(&mut sum, "build", |sum| {
            let mut build = shell::cargo(&["build", "--locked", "--workspace", "--bins"]);
            check(sum, "build", &mut build)
        });
        step(&mut sum, "tests", |sum| {
            let mut cargo = shell::cargo(&["test", "--locked", "--workspace", "--no-fail-fast"]);
            if !self.fast {
                cargo.env("PLIMSOLL_TEST_LONG", "1");
            }
            cargo_tests(sum, &mut cargo)
        });
        step(&mut sum, "manifests", |sum| {
            judge_manifests(sum);
            Ok(())
        });
        step(&mut sum, "scenarios on this kernel", |sum| {
            self.host_scenarios(sum)
        });
        if self.fast {
            sum.skip("kernel lab", "--fast");
            sum.skip("fuzz", "--fast");
        } else {
            step(&mut sum, "kernel lab", |sum| in_labs(sum, self.yes));
            step(&mut sum, "fuzz", fuzz);
        }
        sum.print();
        if sum.failed() > 0 {
            bail!("{} failed", sum.failed());
        }
        Ok(())
    }

    fn host_scenarios(&self, sum: &mut Sum) -> Result<()> {
        if !shell::is_root() {
            sum.skip("scenarios on this kernel", "needs root");
            return Ok(());
        }
        install::ensure(&install::STAGE, true)?;
        // What the lab's machines run is built once, for here as well.
        let programs = if self.fast || !lab::is_possible() {
            up::build()?
        } else {
            lab::programs()?
        };
        let mut verdict = lab::Verdict::default();
        let mut command = Command::new(programs.join("plimsoll-lab"));
        let status = shell::follow(command.arg("scenarios"), &mut |line| {
            shell::say(&format!("  {line}"));
            verdict.take(line);
        })?;
        let clean = verdict.failed.is_empty();
        if clean && verdict.passed.is_empty() && verdict.skipped.is_empty() {
            bail!("plimsoll-lab scenarios: nothing was run ({status})");
        }
        sum.add_verdict("host", verdict);
        if clean && !status.success() {
            bail!("plimsoll-lab scenarios: {status}");
        }
        Ok(())
    }
}

/// A step that breaks is a failure with its cause, and the next ones still run.
fn step(sum: &mut Sum, name: &str, run: impl FnOnce(&mut Sum) -> Result<()>) {
    shell::say(&format!("== {name}"));
    let begin = Instant::now();
    if let Err(e) = run(sum) {
        sum.fail(name, &format!("{e:#}"));
    }
    shell::say(&format!(
        "== {name}: {:.1} s",
        begin.elapsed().as_secs_f64()
    ));
}

fn check(sum: &mut Sum, name: &str, command: &mut Command) -> Result<()> {
    shell::run(command)?;
    sum.pass(name);
    Ok(())
}

/// Runs `cargo test` and counts its `test result:` lines.
fn cargo_tests(sum: &mut Sum, cargo: &mut Command) -> Result<()> {
    let mut broken = true;
    let failed_before = sum.failed();
    let status = shell::follow(cargo, &mut |line| {
        shell::say(line);
        if let Some(result) = count::test_result(line) {
            broken = false;
            sum.add(result);
        } else if let Some(name) = count::failed_test(line) {
            sum.name_failure(name);
        } else if let Some(reason) = line.strip_prefix("SKIP ") {
            sum.name_skip(reason);
        }
    })?;
    if broken {
        bail!("no test was run ({status})");
    }
    if !status.success() && sum.failed() == failed_before {
        bail!("cargo test: {status}");
    }
    Ok(())
}

/// With the tools that are there; what the manifests promise is among the tests.
fn judge_manifests(sum: &mut Sum) {
    for (name, outcome) in manifests::check() {
        let name = format!("manifests: {name}");
        match outcome {
            manifests::Outcome::Passed => sum.pass(&name),
            manifests::Outcome::Failed(why) => sum.fail(&name, &why),
            manifests::Outcome::Without(tool) => sum.skip(&name, &format!("needs {tool}")),
        }
    }
}

/// All kernels, each in a machine of its own: side by side, as each keeps one CPU busy, if there are as many.
fn in_labs(sum: &mut Sum, yes: bool) -> Result<()> {
    if !lab::is_possible() {
        sum.skip("kernel lab", "needs x86_64 and apt-get");
        return Ok(());
    }
    install::ensure(&install::LAB, yes)?;
    lab::prepare()?;
    let kernels = lab::KERNELS.map(|(kernel, _)| kernel);
    let has_cpus =
        std::thread::available_parallelism().is_ok_and(|cpus| cpus.get() >= kernels.len());
    let verdicts = if has_cpus {
        std::thread::scope(|scope| {
            let running = kernels.map(|kernel| {
                let machine = scope.spawn(move || lab::command::scenarios(kernel, None));
                (kernel, machine)
            });
            running.map(|(kernel, machine)| {
                let verdict = machine.join();
                (
                    kernel,
                    verdict.unwrap_or_else(|_| bail!("its thread panicked")),
                )
            })
        })
    } else {
        kernels.map(|kernel| (kernel, lab::command::scenarios(kernel, None)))
    };
    for (kernel, verdict) in verdicts {
        let name = format!("lab {kernel}");
        match verdict {
            Ok(verdict) => {
                if let Some(problem) = verdict.problem() {
                    sum.fail(&name, &problem);
                }
                sum.add_verdict(&name, verdict);
            }
            Err(error) => sum.fail(&name, &format!("{error:#}")),
        }
    }
    Ok(())
}

fn fuzz(sum: &mut Sum) -> Result<()> {
    let folder = shell::root().join("tests/fuzz");
    if !folder.is_dir() {
        sum.skip("fuzz", "no fuzz targets");
        return Ok(());
    }
    let nightly = Command::new("cargo")
        .args(["+nightly", "fuzz", "--version"])
        .output();
    if !nightly.is_ok_and(|output| output.status.success()) {
        sum.skip("fuzz", "needs rustup's nightly and cargo-fuzz");
        return Ok(());
    }
    let mut list = Command::new("cargo");
    let targets = shell::read(
        list.args(["+nightly", "fuzz", "list"])
            .current_dir(shell::root().join("tests")),
    )
    .context("listing fuzz targets")?;
    for target in targets.lines() {
        match shell::run(&mut fuzz_run(target)) {
            Ok(()) => sum.pass(&format!("fuzz {target}")),
            Err(e) => sum.fail(&format!("fuzz {target}"), &format!("{e:#}")),
        }
    }
    Ok(())
}

fn fuzz_run(target: &str) -> Command {
    let mut command = Command::new("cargo");
    command
        .args(["+nightly", "fuzz", "run", target, "--"])
        .arg("-rss_limit_mb=2048")
        .arg(format!("-max_total_time={FUZZ_SECONDS}"))
        .current_dir(shell::root().join("tests"));
    command
}
