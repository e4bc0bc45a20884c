//! The manifests of `daemonset/`, as rendered: every object is one that the API knows, and what they promise
//! (who has which right, who mounts what, who may speak to whom) is so.
//!
//! Reads the committed renderings, `daemonset/rendered`, so that it runs where there is no kubectl;
//! `cargo xtask manifests` renders them, and [`sources`] says whether they are of these sources.
#![expect(
    clippy::disallowed_methods,
    reason = "shell: reads the manifests and the documents beside them"
)]
#![expect(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test says by failing what it expected"
)]

#[path = "manifests/admission.rs"]
mod admission;
#[path = "manifests/agent.rs"]
mod agent;
#[path = "manifests/collector.rs"]
mod collector;
#[path = "manifests/exceptions.rs"]
mod exceptions;
#[path = "manifests/images.rs"]
mod images;
#[path = "manifests/monitoring.rs"]
mod monitoring;
#[path = "manifests/objects.rs"]
mod objects;
#[path = "../../xtask/src/image/plan.rs"]
mod plan;
#[path = "manifests/policy.rs"]
mod policy;
#[path = "manifests/rights.rs"]
mod rights;
#[path = "manifests/sources.rs"]
mod sources;

use std::path::{Path, PathBuf};

/// What is rendered: the environments, and every component at once.
const RENDERED: [&str; 4] = ["dev", "staging", "prod", "all-options"];
/// The agents' namespace, and the collector's.
const AGENTS: &str = "plimsoll-agent";
const COLLECTOR: &str = "plimsoll";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("tests/ lies in the workspace")
        .to_owned()
}
