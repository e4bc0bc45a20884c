//! The house rules that a machine can check, as tests: what every module must say about itself,
//! which modules may touch the world, what may be built upon.
#![expect(
    clippy::disallowed_methods,
    reason = "shell: reads the project's own sources"
)]
#![expect(
    clippy::expect_used,
    clippy::string_slice,
    reason = "a test says by failing what it expected"
)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Files that are longer than 500 lines before their tests, each with its reason.
const LONG_FILES: &[(&str, &str)] = &[];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("tests/ lies in the workspace")
        .into()
}

/// Files that git tracks (and new ones it does not ignore), with these endings.
fn files(endings: &[&str]) -> Vec<(String, String)> {
    let output = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard"])
        .current_dir(root())
        .output()
        .expect("git runs");
    assert!(
        output.status.success(),
        "git ls-files failed: this test needs a checkout"
    );
    let files: Vec<_> = String::from_utf8(output.stdout)
        .expect("file names are UTF-8")
        .lines()
        .filter(|name| endings.iter().any(|ending| name.ends_with(ending)))
        .filter_map(|name| {
            Some((
                name.to_owned(),
                std::fs::read_to_string(root().join(name)).ok()?,
            ))
        })
        .collect();
    assert!(!files.is_empty(), "no file ends with {endings:?}");
    files
}

/// The part of a source file before its unit tests.
fn before_tests(text: &str) -> &str {
    text.split_once("\n#[cfg(test)]\nmod tests {")
        .map_or(text, |(code, _)| code)
}

fn assert_none(what: &str, found: &[String]) {
    assert!(found.is_empty(), "{what}:\n  {}", found.join("\n  "));
}

#[test]
fn every_module_says_what_it_owns() {
    let silent: Vec<_> = files(&[".rs"])
        .into_iter()
        // Their parent says what they test.
        .filter(|(name, _)| !name.ends_with("/tests.rs"))
        .filter(|(_, text)| {
            let mut lines = text.lines().skip_while(|line| {
                let line = line.trim();
                line.is_empty()
                    || line.starts_with("#!")
                    || line.starts_with("clippy::")
                    || line.starts_with("unsafe_code,")
                    || line.starts_with("reason =")
                    || line == ")]"
            });
            !lines.next().is_some_and(|line| line.starts_with("//!"))
        })
        .map(|(name, _)| name)
        .collect();
    assert_none("modules without a `//!` comment", &silent);
}

#[test]
fn no_file_has_outgrown_one_room() {
    let long: Vec<_> = files(&[".rs"])
        .into_iter()
        .map(|(name, text)| (before_tests(&text).lines().count(), name))
        .filter(|(_, name)| !name.ends_with("/tests.rs") && !name.starts_with("tests/tests/"))
        .filter(|(lines, name)| *lines > 500 && !LONG_FILES.iter().any(|(known, _)| known == name))
        .map(|(lines, name)| format!("{name}: {lines} lines before its tests"))
        .collect();
    assert_none("files over 500 lines", &long);
}

#[test]
fn nothing_is_left_half_done() {
    // Written in two parts, so that this file does not find itself.
    let marks = [
        ["#[ign", "ore"],
        ["should", "_panic"],
        ["tod", "o!("],
        ["unimple", "mented!("],
        ["FIX", "ME"],
        ["XX", "X"],
        ["Not built", " yet"],
    ]
    .map(|parts| parts.concat());
    let found: Vec<_> = files(&[".rs"])
        .into_iter()
        .flat_map(|(name, text)| {
            let hits: Vec<_> = text
                .lines()
                .enumerate()
                .filter(|(_, line)| marks.iter().any(|mark| line.contains(mark)))
                .map(|(at, line)| format!("{name}:{}: {}", at + 1, line.trim()))
                .collect();
            hits
        })
        .collect();
    assert_none("left-overs", &found);
}

/// A first `cargo xtask` compiles for minutes: who waits is to see that.
#[test]
fn building_is_not_silent() {
    let path = root().join(".cargo/config.toml");
    let text = std::fs::read_to_string(path).expect("the alias has its file");
    let alias = text.lines().find(|line| line.starts_with("xtask = "));
    let alias = alias.expect("cargo xtask is an alias");
    assert!(!alias.contains("-q"), "{alias}");
}

#[test]
fn every_crate_takes_the_workspace_lints() {
    let without: Vec<_> = files(&["Cargo.toml"])
        .into_iter()
        .filter(|(name, text)| {
            name != "Cargo.toml"
                && !name.starts_with("ebpf/Cargo.toml")
                && !name.starts_with("tests/fuzz/")
                && !text.contains("[lints]\nworkspace = true")
        })
        .map(|(name, _)| name)
        .collect();
    assert_none("manifests without `[lints] workspace = true`", &without);
}

#[test]
fn the_list_of_shell_modules_is_complete() {
    let shells: BTreeSet<_> = files(&[".rs"])
        .into_iter()
        .filter(|(name, _)| !name.starts_with("tests/") && !name.starts_with("xtask/"))
        .filter(|(_, text)| text.contains("reason = \"shell:"))
        .map(|(name, _)| name)
        .collect();
    let page =
        std::fs::read_to_string(root().join("docs/architecture.md")).expect("docs/architecture.md");
    let listed: BTreeSet<_> = page
        .lines()
        .skip_while(|line| *line != "<!-- shell modules -->")
        .take_while(|line| *line != "<!-- end of shell modules -->")
        .filter_map(|line| {
            line.strip_prefix("| `")?
                .split_once('`')
                .map(|(name, _)| name.to_owned())
        })
        .collect();
    let missing: Vec<_> = shells.difference(&listed).cloned().collect();
    let gone: Vec<_> = listed.difference(&shells).cloned().collect();
    assert_none(
        "shell modules that docs/architecture.md does not list",
        &missing,
    );
    assert_none(
        "modules that docs/architecture.md lists and that are no shell",
        &gone,
    );
}

#[test]
fn crates_keep_to_their_neighbours() {
    // (crate, what it must never depend on): ARCHITECTURE, section 2.
    let never: &[(&str, &[&str])] = &[
        ("ebpf/abi", &["aya", "serde", "tokio"]),
        (
            "wire",
            &[
                "tokio",
                "tonic",
                "aya",
                "kube",
                "plimsoll-abi",
                "plimsoll-agent",
            ],
        ),
        (
            "imds",
            &[
                "tokio",
                "aya",
                "plimsoll-abi",
                "plimsoll-wire",
                "pcap-parser",
            ],
        ),
        ("journal", &["tokio", "plimsoll-wire", "serde"]),
        ("agent", &["aws-", "kube", "plimsoll-collector", "redb"]),
        ("collector", &["aya", "plimsoll-abi", "plimsoll-agent"]),
    ];
    let mut found = Vec::new();
    for (folder, banned) in never {
        let manifest =
            std::fs::read_to_string(root().join(folder).join("Cargo.toml")).expect("a manifest");
        let of_the_crate = manifest
            .split("[dev-dependencies]")
            .next()
            .unwrap_or_default();
        for line in of_the_crate.lines() {
            if banned.iter().any(|name| {
                line.starts_with(name)
                    && (name.ends_with('-') || line[name.len()..].starts_with([' ', '.']))
            }) {
                found.push(format!("{folder}: {line}"));
            }
        }
    }
    assert_none("dependencies against the architecture", &found);
}

#[test]
fn licences_are_permissive() {
    let policy = std::fs::read_to_string(root().join("deny.toml")).expect("deny.toml");
    let (_, allowed) = policy
        .split_once("allow = [")
        .expect("deny.toml allows licences");
    let (allowed, _) = allowed.split_once(']').expect("the list ends");
    let allowed: BTreeSet<&str> = allowed.split('"').skip(1).step_by(2).collect();
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--locked"])
        .current_dir(root())
        .output()
        .expect("cargo metadata runs");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let metadata: serde_json::Value =
        serde_json::from_slice(&output.stdout).expect("cargo metadata prints JSON");
    let packages = metadata["packages"].as_array().expect("a list of packages");
    assert!(
        packages.len() > 100,
        "cargo metadata lists only {} packages",
        packages.len()
    );
    let refused: Vec<_> = packages
        .iter()
        .map(|package| {
            (
                package["name"].to_string(),
                package["license"].as_str().unwrap_or_default(),
            )
        })
        .filter(|(_, licence)| !permits(licence, &allowed))
        .map(|(name, licence)| format!("{name}: {licence:?}"))
        .collect();
    assert_none(
        "packages under a licence that deny.toml does not allow",
        &refused,
    );
}

/// Whether an SPDX expression (or its old form with `/`) can be met with the allowed licences.
fn permits(expression: &str, allowed: &BTreeSet<&str>) -> bool {
    let expression = expression.replace('/', " OR ");
    conjunction_of_choices(&expression).iter().all(|choices| {
        choices
            .iter()
            .any(|licence| allowed.contains(licence.as_str()))
    })
}

/// `A AND (B OR C)` as `[[A], [B, C]]`; enough for every expression in use.
fn conjunction_of_choices(expression: &str) -> Vec<Vec<String>> {
    let mut depth = 0;
    let mut groups = vec![String::new()];
    let words: Vec<&str> = expression.split_whitespace().collect();
    let nested = expression.contains('(');
    for word in words {
        depth += word.matches('(').count();
        if word == "AND" && depth == 0 {
            groups.push(String::new());
        } else {
            let group = groups.last_mut().expect("there is always one");
            group.push(' ');
            group.push_str(word);
        }
        depth -= word.matches(')').count().min(depth);
    }
    groups
        .iter()
        .map(|group| {
            let inner = if nested {
                group.replace(['(', ')'], " ")
            } else {
                group.clone()
            };
            inner
                .split(" OR ")
                .map(|licence| licence.split_whitespace().collect::<Vec<_>>().join(" "))
                .collect()
        })
        .collect()
}

#[test]
fn licence_expressions_are_read_right() {
    let allowed = BTreeSet::from(["MIT", "ISC", "Apache-2.0 WITH LLVM-exception"]);
    for (expression, expect) in [
        ("MIT", true),
        ("GPL-3.0", false),
        ("MIT OR GPL-3.0", true),
        ("MIT/GPL-3.0", true),
        ("MIT AND GPL-3.0", false),
        ("ISC AND (GPL-3.0 OR MIT)", true),
        ("(GPL-3.0 OR AGPL-3.0) AND MIT", false),
        ("Apache-2.0 WITH LLVM-exception OR GPL-3.0", true),
        ("", false),
    ] {
        assert_eq!(permits(expression, &allowed), expect, "{expression}");
    }
}
