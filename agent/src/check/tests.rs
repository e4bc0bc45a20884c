//! Hosts that exist only here.

use super::*;
use crate::host::facts::Capabilities;

/// A host of which nothing is known: everything is tried.
fn check(facts: &HostFacts, absent: Option<&str>, sources: &[&str]) -> Check {
    let sources = sources.iter().map(ToString::to_string).collect();
    let plan = host::plan(facts);
    Check::new(facts, &plan, absent, sources)
}

#[test]
fn each_reason_is_told_once_with_whom_it_concerns() {
    let facts = HostFacts {
        // CAP_PERFMON is missing.
        capabilities: Some(Capabilities(1 << 12 | 1 << 39)),
        ..HostFacts::default()
    };
    let found = check(&facts, None, &["cgroup: arrangement unknown"]);
    let because = |reason: &str| {
        let of_reason = found
            .programs
            .iter()
            .filter(move |program| program.reason.as_deref() == Some(reason));
        of_reason
            .map(|program| program.name.as_str())
            .collect::<Vec<_>>()
            .join(", ")
    };
    for reason in [
        "CAP_PERFMON is missing",
        "no cgroup v2 hierarchy is mounted at host.cgroup",
    ] {
        let names = because(reason);
        assert!(!names.is_empty(), "{found}");
        let line = format!("kernel programs {names}: {reason}");
        assert_eq!(
            found
                .missing
                .iter()
                .filter(|missing| **missing == line)
                .count(),
            1,
            "{found}"
        );
    }
    assert_eq!(
        found.missing.last().map(String::as_str),
        Some("cgroup: arrangement unknown")
    );
    assert!(!found.is_complete());
    let capabilities = found.host.capabilities.as_ref().unwrap();
    assert_eq!(
        capabilities.values().copied().collect::<Vec<_>>(),
        [true, true, false]
    );
    assert!(found.to_string().contains("CAP_PERFMON: no"), "{found}");
}

#[test]
fn a_build_without_programs_skips_all_of_them_for_that() {
    let found = check(
        &HostFacts::default(),
        Some("built without them: no compiler"),
        &[],
    );
    assert!(
        found
            .programs
            .iter()
            .all(|program| program.action == "skip")
    );
    assert!(
        found
            .missing
            .iter()
            .any(|missing| missing.ends_with("built without them: no compiler")),
        "{found}"
    );
}

#[test]
fn what_is_not_known_is_null_and_no_finding() {
    let found = check(&HostFacts::default(), None, &[]);
    assert_eq!(found.host.capabilities, None);
    let document = serde_json::to_value(&found).unwrap();
    for field in [
        "kernel",
        "lockdown",
        "bpf_jit_harden",
        "btf_sched_switch",
        "tracefs",
    ] {
        assert!(document["host"][field].is_null(), "{field}");
    }
}
