//! The house rules that a machine can check, as tests: what every module must say about itself,
//! which modules may touch the world. What may be built upon is for `dependencies`.
#![expect(
    clippy::disallowed_methods,
    reason = "shell: reads the project's own sources"
)]
#![expect(
    clippy::expect_used,
    reason = "a test says by failing what it expected"
)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Files that are longer than 500 lines before their tests, each with its reason.
const LONG_FILES: &[(&str, &str)] = &[("collector/src/ocsf/types.rs", "generated")];

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

/// docs/delivery.md names the tests that show what it promises.
#[test]
fn promises_are_shown_by_tests_that_exist() {
    let page = std::fs::read_to_string(root().join("docs/delivery.md")).expect("docs/delivery.md");
    let quoted = page.split('`').skip(1).step_by(2);
    // Three words at least: what is shorter is a function of the system.
    let named: BTreeSet<&str> = quoted
        .filter(|word| word.matches('_').count() >= 2)
        .collect();
    assert!(named.len() > 20, "{named:?}");
    let sources = files(&[".rs"]);
    let is_there = |name: &str| {
        let (function, word) = (format!("fn {name}("), format!("\"{name}\""));
        sources
            .iter()
            .any(|(_, text)| text.contains(&function) || text.contains(&word))
    };
    let gone: Vec<String> = named
        .into_iter()
        .filter(|name| !is_there(name))
        .map(str::to_owned)
        .collect();
    assert_none("tests that docs/delivery.md names and that are gone", &gone);
}
