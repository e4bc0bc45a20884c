//! What may be built upon: the walls between the crates, licences, sources and bans, all from what
//! cargo resolved. The policy is `deny.toml`; its advisories need the network and `cargo deny`.
#![expect(
    clippy::disallowed_methods,
    reason = "shell: reads deny.toml and asks cargo"
)]
#![expect(
    clippy::expect_used,
    reason = "a test says by failing what it expected"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// What a crate must never be built with, at any depth (docs/architecture.md, "Code map"). A name
/// stands for its family too: `aya` for `aya-obj`.
const NEVER: &[(&str, &[&str])] = &[
    ("plimsoll-abi", &["aya", "serde", "tokio", "plimsoll"]),
    (
        "plimsoll-wire",
        &["aya", "kube", "k8s-openapi", "redb", "plimsoll"],
    ),
    (
        "plimsoll-imds",
        &["tokio", "aya", "pcap-parser", "plimsoll"],
    ),
    ("plimsoll-journal", &["tokio", "serde", "plimsoll"]),
    ("plimsoll-settings", &["tokio", "plimsoll"]),
    (
        "plimsoll-agent",
        &[
            "aws-config",
            "aws-sdk",
            "kube",
            "k8s-openapi",
            "redb",
            "plimsoll-collector",
            "plimsoll-tests",
        ],
    ),
    (
        "plimsoll-collector",
        &["aya", "plimsoll-abi", "plimsoll-agent", "plimsoll-tests"],
    ),
    ("plimsoll-xtask", &["plimsoll"]),
];

/// What a crate must not use itself, though what it builds upon may: the types of OTLP come with
/// their gRPC stubs.
const NEVER_ITSELF: &[(&str, &[&str])] = &[("plimsoll-wire", &["tokio", "tonic", "hyper"])];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn cargo(workspace: &Path, arguments: &[&str]) -> Vec<u8> {
    let output = Command::new(env!("CARGO"))
        .args(arguments)
        .arg("--locked")
        .current_dir(workspace)
        .output()
        .expect("cargo runs");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{error}");
    output.stdout
}

/// What cargo resolved for a workspace, and what it may have to resolve some day: weak features
/// bring in packages that nothing is built with.
fn metadata(workspace: &Path) -> Value {
    let output = cargo(workspace, &["metadata", "--format-version", "1"]);
    serde_json::from_slice(&output).expect("cargo metadata prints JSON")
}

/// Names of what is built, on any target, tests included.
fn built(workspace: &Path) -> BTreeSet<String> {
    let all = ["tree", "--workspace", "--target", "all", "--edges", "all"];
    let plain = ["--prefix", "none", "--format", "{p}"];
    let output = cargo(workspace, &[&all[..], &plain[..]].concat());
    let lines = String::from_utf8(output).expect("cargo tree prints text");
    let name = |line: &str| line.split(' ').next().map(str::to_owned);
    lines.lines().filter_map(name).collect()
}

fn list(value: &Value) -> &[Value] {
    value
        .as_array()
        .expect("cargo metadata holds lists")
        .as_slice()
}

fn text(value: &Value) -> &str {
    value.as_str().expect("cargo metadata holds strings")
}

/// Normal and build dependencies by package id.
struct Graph<'a> {
    names: BTreeMap<&'a str, &'a str>,
    edges: BTreeMap<&'a str, Vec<&'a str>>,
}

impl<'a> Graph<'a> {
    fn of(metadata: &'a Value) -> Self {
        let name = |package: &'a Value| (text(&package["id"]), text(&package["name"]));
        let edges = |node: &'a Value| {
            let is_shipped = |dep: &&Value| {
                list(&dep["dep_kinds"])
                    .iter()
                    .any(|kind| kind["kind"] != "dev")
            };
            let to = list(&node["deps"]).iter().filter(is_shipped);
            (text(&node["id"]), to.map(|dep| text(&dep["pkg"])).collect())
        };
        Self {
            names: list(&metadata["packages"]).iter().map(name).collect(),
            edges: list(&metadata["resolve"]["nodes"])
                .iter()
                .map(edges)
                .collect(),
        }
    }

    fn id(&self, name: &str) -> &'a str {
        let found = self.names.iter().find(|(_, known)| **known == name);
        found.expect("a crate of this workspace").0
    }

    /// Names of what `id` is built with: directly, or at any depth.
    fn built_with(&self, id: &'a str, depth: usize) -> BTreeSet<&'a str> {
        let mut seen = BTreeSet::from([id]);
        let mut front = vec![id];
        for _ in 0..depth {
            let next = front.iter().flat_map(|id| &self.edges[id]);
            front = next.copied().filter(|id| seen.insert(id)).collect();
        }
        seen.remove(id);
        seen.into_iter().map(|id| self.names[id]).collect()
    }
}

fn is_of_family(name: &str, family: &str) -> bool {
    name.strip_prefix(family)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
}

#[test]
fn crates_keep_to_their_neighbours() {
    let metadata = metadata(&root());
    let graph = Graph::of(&metadata);
    let mut found = Vec::new();
    for (rules, depth) in [(NEVER, graph.names.len()), (NEVER_ITSELF, 1)] {
        for (crate_name, families) in rules {
            let names = graph.built_with(graph.id(crate_name), depth);
            assert!(!names.is_empty(), "{crate_name} is built with nothing");
            for name in names {
                if families.iter().any(|family| is_of_family(name, family)) {
                    found.push(format!("{crate_name}: {name}"));
                }
            }
        }
    }
    // Rules of no effect would pass as well: the agent is built with what others must not be.
    let agent = graph.built_with(graph.id("plimsoll-agent"), graph.names.len());
    assert!(agent.contains("aya-obj") && agent.contains("plimsoll-abi"));
    assert!(found.is_empty(), "against the architecture: {found:#?}");
}

#[test]
fn a_family_is_a_name_with_what_follows_a_dash() {
    for (name, family, expect) in [
        ("aya", "aya", true),
        ("aya-obj", "aya", true),
        ("ayatollah", "aya", false),
        ("k8s-openapi", "kube", false),
        ("serde_json", "serde", false),
    ] {
        assert_eq!(is_of_family(name, family), expect, "{name}");
    }
}

/// The strings of a list in deny.toml, comments left out: those of `key`, or all.
fn policy(section: &str) -> Vec<String> {
    let policy = std::fs::read_to_string(root().join("deny.toml")).expect("deny.toml");
    let (_, rest) = policy
        .split_once(&format!("[{section}]"))
        .expect("deny.toml has the section");
    let section = rest.split("\n[").next().unwrap_or_default();
    let lines = section.lines().filter(|line| !line.starts_with('#'));
    let quoted = |line: &str| line.split('"').nth(1).map(str::to_owned);
    let indented = |line: &&str| line.starts_with(' ');
    lines.filter(indented).filter_map(quoted).collect()
}

#[test]
fn licences_sources_and_bans_are_kept() {
    let (licences, banned) = (policy("licenses"), policy("bans"));
    assert!(licences.contains(&"MIT".to_owned()) && banned.contains(&"openssl".to_owned()));
    let allowed: BTreeSet<&str> = licences.iter().map(String::as_str).collect();
    let mut refused = Vec::new();
    for workspace in ["", "ebpf"] {
        let folder = root().join(workspace);
        let built = built(&folder);
        let metadata = metadata(&folder);
        let packages = list(&metadata["packages"]);
        assert!(packages.len() > 1, "cargo lists nothing of {workspace}");
        assert!(built.len() > 1, "cargo builds nothing of {workspace}");
        let bans = banned.iter().filter(|name| built.contains(*name));
        refused.extend(bans.map(|name| format!("{name}: banned")));
        for package in packages {
            let name = text(&package["name"]);
            let licence = package["license"].as_str().unwrap_or_default();
            if !permits(licence, &allowed) {
                refused.push(format!("{name}: licence {licence:?}"));
            }
            let source = package["source"].as_str();
            if source.is_some_and(|source| source != CRATES_IO) {
                refused.push(format!("{name}: from {source:?}"));
            }
        }
    }
    assert!(refused.is_empty(), "against deny.toml: {refused:#?}");
}

/// The only place that packages come from.
const CRATES_IO: &str = "registry+https://github.com/rust-lang/crates.io-index";

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
