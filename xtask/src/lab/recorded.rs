#![expect(
    clippy::disallowed_methods,
    reason = "shell: compares and writes tests/recorded"
)]
//! What scenarios find out of a kernel is a file of the project, from which a document is made: the
//! lab says if it is so no more, or writes it.

use std::path::PathBuf;

use anyhow::{Context, Result};
use serde_json::{Map, Value};

use crate::shell;

/// Set: write instead of compare; as for the documents.
const WRITE: &str = "PLIMSOLL_WRITE_DOCS";
/// Below the project's root.
const FILE: &str = "tests/recorded/node-rights.json";

/// Compares what was found with the file, and says what differs; or writes it.
pub(super) fn check(found: &[(String, String)]) -> Result<Vec<String>> {
    if found.is_empty() {
        return Ok(Vec::new());
    }
    let path: PathBuf = shell::root().join(FILE);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|_| "{}".to_owned());
    let known: Map<String, Value> =
        serde_json::from_str(&text).with_context(|| format!("reading {FILE}"))?;
    let (now, differences) = merged(known, found)?;
    if std::env::var_os(WRITE).is_none() {
        return Ok(differences);
    }
    let text = serde_json::to_string_pretty(&now).context("writing what was found")?;
    std::fs::write(&path, text + "\n").with_context(|| format!("writing {FILE}"))?;
    Ok(Vec::new())
}

/// The file with what was found, and where that differs from it.
fn merged(
    known: Map<String, Value>,
    found: &[(String, String)],
) -> Result<(Map<String, Value>, Vec<String>)> {
    let mut now = known;
    let mut differences = Vec::new();
    for (name, text) in found {
        let value: Value = serde_json::from_str(text)
            .with_context(|| format!("the scenario {name} recorded no JSON"))?;
        if now.get(name) != Some(&value) {
            differences.push(format!(
                "{name}: {FILE} has something else; run it with {WRITE}=1 and read the difference"
            ));
        }
        now.insert(name.clone(), value);
    }
    Ok((now, differences))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_found_counts() {
        let known = || serde_json::from_str(r#"{"a": [1], "b": 2}"#).unwrap();
        let check = |name: &str, text: &str| {
            merged(known(), &[(name.to_owned(), text.to_owned())]).unwrap()
        };
        assert!(check("a", "[1]").1.is_empty());
        let (now, differences) = check("a", "[2]");
        assert_eq!(
            (now["a"].to_string(), differences.len()),
            ("[2]".to_owned(), 1)
        );
        assert_eq!(now["b"], 2);
        assert_eq!(check("c", "3").1.len(), 1);
    }
}
