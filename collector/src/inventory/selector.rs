//! Kubernetes label selectors: `app=api,tier!=cache,canary,!legacy,zone in (a,b),zone notin (c)`.
//!
//! Source: "Labels and Selectors" of the Kubernetes documentation. Pure.

use std::collections::BTreeMap;

use thiserror::Error;

/// Most requirements in one selector.
const MAX_REQUIREMENTS: usize = 64;

/// A part of a selector that is none.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error(
    "`{part}` is not a label requirement: use key=value, key!=value, key, !key, key in (a,b) or key notin (a,b)"
)]
pub struct SelectorError {
    /// The part.
    pub part: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Requirement {
    In(String, Vec<String>),
    NotIn(String, Vec<String>),
    Exists(String),
    Absent(String),
}

/// All of its requirements must hold; an empty one matches everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selector(Vec<Requirement>);

impl Selector {
    /// Parses.
    pub fn parse(text: &str) -> Result<Self, SelectorError> {
        let requirements: Result<Vec<_>, _> = parts(text).into_iter().map(requirement).collect();
        let requirements = requirements?;
        if requirements.len() > MAX_REQUIREMENTS {
            return Err(SelectorError {
                part: text.to_owned(),
            });
        }
        Ok(Self(requirements))
    }

    /// Whether labels fit. As in Kubernetes, `!=` and `notin` also match where the key is absent.
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.0.iter().all(|requirement| match requirement {
            Requirement::In(key, values) => {
                labels.get(key).is_some_and(|value| values.contains(value))
            }
            Requirement::NotIn(key, values) => {
                labels.get(key).is_none_or(|value| !values.contains(value))
            }
            Requirement::Exists(key) => labels.contains_key(key),
            Requirement::Absent(key) => !labels.contains_key(key),
        })
    }
}

/// Splits at commas outside parentheses.
fn parts(text: &str) -> Vec<&str> {
    let mut depth = 0_u32;
    text.split(|c| {
        match c {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        c == ',' && depth == 0
    })
    .map(str::trim)
    .filter(|part| !part.is_empty())
    .collect()
}

fn requirement(part: &str) -> Result<Requirement, SelectorError> {
    let refused = || SelectorError {
        part: part.to_owned(),
    };
    let key = |text: &str| -> Result<String, SelectorError> {
        let text = text.trim();
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
        if text.is_empty() || !text.chars().all(plain) {
            Err(refused())
        } else {
            Ok(text.to_owned())
        }
    };
    let value = |text: &str| text.trim().to_owned();
    if let Some((k, v)) = part.split_once("!=") {
        return Ok(Requirement::NotIn(key(k)?, vec![value(v)]));
    }
    if let Some((k, v)) = part.split_once("==").or_else(|| part.split_once('=')) {
        return Ok(Requirement::In(key(k)?, vec![value(v)]));
    }
    if let Some((head, values)) = part.strip_suffix(')').and_then(|rest| rest.split_once('(')) {
        let values = values.split(',').map(value).collect();
        let head = head.trim();
        if let Some(k) = head.strip_suffix(" notin") {
            return Ok(Requirement::NotIn(key(k)?, values));
        }
        return Ok(Requirement::In(
            key(head.strip_suffix(" in").ok_or_else(refused)?)?,
            values,
        ));
    }
    match part.strip_prefix('!') {
        Some(k) => Ok(Requirement::Absent(key(k)?)),
        None => Ok(Requirement::Exists(key(part)?)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(selector: &str, expected: Result<bool, &str>) {
        let labels = [("app", "api"), ("zone", "a")]
            .map(|(k, v)| (k.to_owned(), v.to_owned()))
            .into();
        let got = Selector::parse(selector)
            .map(|s| s.matches(&labels))
            .map_err(|e| e.part);
        assert_eq!(got, expected.map_err(str::to_owned), "{selector}");
    }

    #[test]
    fn as_kubernetes_reads_them() {
        check("", Ok(true));
        check("app=api", Ok(true));
        check("app==api, zone=b", Ok(false));
        check("app!=web,tier!=x", Ok(true));
        check("app,!legacy", Ok(true));
        check("zone in (a, b),app notin (web,job)", Ok(true));
        check("zone notin (a)", Ok(false));
        check("zone on (a)", Err("zone on (a)"));
        check("app=api,=x", Err("=x"));
        check("a b", Err("a b"));
    }
}
