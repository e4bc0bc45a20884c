#![expect(clippy::disallowed_methods, reason = "shell: reads recorded answers")]
//! What a real API server answered: `tests/recorded/kube`.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::Value;

/// The text of a recorded file, by its name below `tests/recorded/kube`.
///
/// # Errors
/// It cannot be read.
pub fn text(name: &str) -> Result<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("recorded/kube");
    let path = folder.join(name);
    fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))
}

/// A recorded list, such as `pods.json`.
///
/// # Errors
/// It cannot be read.
pub fn list(name: &str) -> Result<Value> {
    serde_json::from_str(&text(name)?).with_context(|| format!("parsing {name}"))
}

/// The recorded lists of whole kinds.
pub const LISTS: &[&str] = &[
    "cronjobs.json",
    "daemonsets.json",
    "deployments.json",
    "endpointslices.json",
    "horizontalpodautoscalers.json",
    "jobs.json",
    "limitranges.json",
    "namespaces.json",
    "networkpolicies.json",
    "nodes.json",
    "persistentvolumeclaims.json",
    "poddisruptionbudgets.json",
    "pods.json",
    "replicasets.json",
    "resourcequotas.json",
    "rollouts.json",
    "serviceaccounts.json",
    "services.json",
    "statefulsets.json",
];
