#![expect(
    clippy::disallowed_methods,
    reason = "shell: runs the tools that judge manifests, reads and writes renderings"
)]
//! `cargo xtask manifests`: renders `daemonset/`, compares or writes the renderings, and has them judged.
//!
//! What a tool is needed for is left out where it is not there, and said so; what the manifests promise is
//! judged by a test that needs none of them (`tests/tests/manifests.rs`).

mod bootstrap;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};
use clap::Args;
use serde_json::Value;

use crate::shell;

/// Renderings and the folders that they are made of, below `daemonset`.
const RENDERED: [(&str, &str); 4] = [
    ("dev", "overlays/dev"),
    ("staging", "overlays/staging"),
    ("prod", "overlays/prod"),
    ("all-options", "examples/all-options"),
];
/// Versions of Kubernetes that the objects must be objects of.
const KUBERNETES: [&str; 6] = ["1.31", "1.32", "1.33", "1.34", "1.35", "1.36"];
/// What checkov may find, each with its reason.
const ACCEPTED: &str = "checkov.accepted";

/// Renders the manifests, compares them with the committed renderings, and has them judged.
#[derive(Debug, Args)]
pub(crate) struct Manifests {
    /// Write the renderings instead of comparing them.
    #[arg(long)]
    write: bool,
}

/// What came of a check.
pub(crate) enum Outcome {
    /// All is well.
    Passed,
    /// It is not.
    Failed(String),
    /// A tool is not there.
    Without(&'static str),
}

impl Manifests {
    pub(crate) fn run(&self) -> Result<()> {
        if self.write {
            write()?;
        }
        let mut bad = Vec::new();
        for (name, outcome) in check() {
            match outcome {
                Outcome::Passed => shell::say(&format!("{name}: ok")),
                Outcome::Failed(why) => {
                    shell::say(&format!("{name}: {why}"));
                    bad.push(name);
                }
                Outcome::Without(tool) => {
                    shell::say(&format!("{name}: not checked, {tool} is missing"));
                    bad.push(name);
                }
            }
        }
        if bad.is_empty() {
            return Ok(());
        }
        bail!("not in order or not checked: {}", bad.join(", "))
    }
}

/// Every check that a tool is needed for, in order.
pub(crate) fn check() -> Vec<(&'static str, Outcome)> {
    let with = |tool: &'static str, is_there: bool, check: fn() -> Result<()>| {
        if !is_there {
            return Outcome::Without(tool);
        }
        match check() {
            Ok(()) => Outcome::Passed,
            Err(error) => Outcome::Failed(format!("{error:#}")),
        }
    };
    let [validates, lints, signs] = ["kubernetes-validate", "checkov", "openssl"].map(shell::has);
    vec![
        (
            "renderings",
            with("kubectl 1.27 or newer", renders(), compare),
        ),
        ("schemas", with("kubernetes-validate", validates, validate)),
        ("checkov", with("checkov", lints, lint)),
        ("bootstrap of TLS", with("openssl", signs, bootstrap::check)),
    ]
}

/// Whether there is a kubectl with Kustomize 5: an older one (Debian has 1.20) knows no components.
fn renders() -> bool {
    let version = ["version", "--client", "-o", "json"];
    shell::has("kubectl")
        && shell::read(&mut shell::command("kubectl", &version)).is_ok_and(|text| is_new(&text))
}

fn is_new(version: &str) -> bool {
    let version: Value = serde_json::from_str(version).unwrap_or_default();
    let kustomize = version["kustomizeVersion"].as_str().unwrap_or_default();
    let major = kustomize.trim_start_matches('v').split('.').next();
    major.and_then(|major| major.parse::<u32>().ok()) >= Some(5)
}

fn folder() -> PathBuf {
    shell::root().join("daemonset")
}

fn rendering(name: &str) -> PathBuf {
    folder().join(format!("rendered/{name}.yaml"))
}

fn render(source: &str) -> Result<String> {
    let mut kubectl = shell::command("kubectl", &["kustomize"]);
    shell::read(kubectl.arg(folder().join(source)))
}

fn write() -> Result<()> {
    for (name, source) in RENDERED {
        let path = rendering(name);
        std::fs::write(&path, render(source)?)
            .with_context(|| format!("writing {}", path.display()))?;
    }
    // The sums of sources and renderings are written by the test that compares them.
    let mut cargo = shell::cargo(&[
        "test",
        "--locked",
        "--package",
        "plimsoll-tests",
        "--test",
        "manifests",
        "--quiet",
    ]);
    let one = [
        "--",
        "--exact",
        "sources::the_renderings_are_of_these_sources",
    ];
    shell::run(cargo.args(one).env("PLIMSOLL_WRITE_DOCS", "1"))
}

fn compare() -> Result<()> {
    for (name, source) in RENDERED {
        let path = rendering(name);
        let found = std::fs::read_to_string(&path)
            .with_context(|| format!("reading {}", path.display()))?;
        if found != render(source)? {
            bail!(
                "{} is not what {source} renders to: run `cargo xtask manifests --write` and read the difference",
                path.display()
            );
        }
    }
    Ok(())
}

fn validate() -> Result<()> {
    for version in KUBERNETES {
        let arguments = ["-k", version, "--strict", "--quiet", "--no-warn"];
        let mut command = shell::command("kubernetes-validate", &arguments);
        command.args(RENDERED.map(|(name, _)| rendering(name)));
        shell::run(&mut command).with_context(|| format!("as objects of Kubernetes {version}"))?;
    }
    Ok(())
}

fn lint() -> Result<()> {
    let path = folder().join(ACCEPTED);
    let text =
        std::fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
    let accepted = accepted(&text)?;
    let arguments = ["--framework", "kubernetes", "--skip-download", "-o", "json"];
    let mut command = shell::command(
        "checkov",
        &[&arguments[..], &["--compact", "--quiet"]].concat(),
    );
    for (name, _) in RENDERED {
        command.arg("-f").arg(rendering(name));
    }
    let found = found(&mut command)?;
    let list = |these: Vec<&String>| {
        let these: Vec<&str> = these.into_iter().map(String::as_str).collect();
        these.join(", ")
    };
    let new: Vec<_> = found.difference(&accepted).collect();
    if !new.is_empty() {
        bail!("found and not in {ACCEPTED}: {}", list(new));
    }
    let gone: Vec<_> = accepted.difference(&found).collect();
    if !gone.is_empty() {
        bail!("in {ACCEPTED} and not found any more: {}", list(gone));
    }
    Ok(())
}

/// Lines of `CHECK RESOURCE: reason`.
fn accepted(text: &str) -> Result<BTreeSet<String>> {
    let lines = text
        .lines()
        .filter(|line| !line.starts_with('#') && !line.is_empty());
    lines
        .map(|line| match line.split_once(": ") {
            Some((name, reason)) if !reason.trim().is_empty() => Ok(name.to_owned()),
            _ => bail!("{ACCEPTED}: a line is `CHECK RESOURCE: reason`, not {line:?}"),
        })
        .collect()
}

/// What checkov found, as `CHECK RESOURCE`. It ends with 1 if it found something.
fn found(command: &mut Command) -> Result<BTreeSet<String>> {
    let output = command.output().context("starting checkov")?;
    let report: Value = serde_json::from_slice(&output.stdout).with_context(|| {
        let words = String::from_utf8_lossy(&output.stderr).into_owned();
        format!("reading checkov's report: {}", words.trim())
    })?;
    // Without anything to look at it prints a summary of zeros.
    let passed = report["summary"]["passed"].as_u64().unwrap_or(0);
    if passed == 0 {
        bail!("checkov looked at nothing");
    }
    let failed = report["results"]["failed_checks"].as_array();
    let names = failed.into_iter().flatten().filter_map(|check| {
        let (id, resource) = (check["check_id"].as_str()?, check["resource"].as_str()?);
        Some(format!("{id} {resource}"))
    });
    Ok(names.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_kubectl_is_none() {
        assert!(is_new(r#"{"kustomizeVersion": "v5.5.0"}"#));
        assert!(is_new(r#"{"kustomizeVersion": "v10.0.0"}"#));
        assert!(!is_new(r#"{"kustomizeVersion": "v4.5.7"}"#));
        assert!(!is_new(
            r#"{"clientVersion": {"major": "1", "minor": "20+"}}"#
        ));
        assert!(!is_new(""));
    }

    #[test]
    fn what_is_accepted_has_a_reason() {
        let text = "# why\n\nCKV_1 Kind.a.b: because\n";
        let names: Vec<_> = accepted(text).unwrap().into_iter().collect();
        assert_eq!(names, ["CKV_1 Kind.a.b"]);
        assert!(accepted("CKV_1 Kind.a.b: \n").is_err());
        assert!(accepted("CKV_1 Kind.a.b\n").is_err());
    }
}
