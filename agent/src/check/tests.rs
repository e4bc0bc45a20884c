//! Hosts that exist only here.

use super::*;
use crate::host::facts::Capabilities;
use crate::host::label::CgroupLabels;

/// A host of which nothing is known: everything is tried.
fn check(facts: &HostFacts, absent: Option<&str>, sources: &[&str]) -> Check {
    let sources = sources.iter().map(ToString::to_string).collect();
    let plan = host::plan(facts);
    Check::new(facts, &plan, absent, sources)
}

#[test]
fn each_reason_is_told_once_with_whom_it_concerns() {
    let facts = HostFacts {
        // CAP_NET_ADMIN is missing.
        capabilities: Some(Capabilities(1 << 38 | 1 << 39)),
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
    let lacks = "CAP_NET_ADMIN is missing";
    let no_tracefs = "tracefs is not mounted";
    for (feature, reason, names) in [
        ("metadata requests", lacks, because(lacks)),
        ("OOM kills", no_tracefs, "mark_victim".to_owned()),
    ] {
        assert!(!names.is_empty(), "{found}");
        let line = format!("{feature}: {reason} ({names})");
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
        [true, false, true, false]
    );
    assert_eq!(found.host.other_capabilities, Some(0));
    assert!(found.to_string().contains("CAP_NET_ADMIN: no"), "{found}");
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
            .any(|missing| missing.contains("built without them: no compiler (")),
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

#[test]
fn what_a_pod_does_not_see_is_not_called_absent() {
    let line = |found: &Check, what: &str| {
        let text = found.to_string();
        let line = text.lines().find(|line| line.starts_with(what)).unwrap();
        line.strip_prefix(what).unwrap().trim().to_owned()
    };
    let mut facts = HostFacts::default();
    let found = check(&facts, None, &[]);
    assert_eq!(line(&found, "lockdown"), "not known");
    facts.hidden = [Hidden::Lockdown, Hidden::JitHarden].into();
    let found = check(&facts, None, &[]);
    for fact in ["lockdown", "bpf_jit_harden"] {
        assert_eq!(line(&found, fact), "not visible here");
        assert!(found.host.not_visible_here.contains(&fact));
    }
}

#[test]
fn what_the_settings_name_is_judged_each_for_itself() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = Config::default();
    config.spool.path = folder.path().join("spool");
    config.export.token_file = Some(folder.path().join("none"));
    let found = of_this_host(&config);
    let problem = |setting: &str| {
        let file = found.files.iter().find(|file| file.setting == setting);
        file.unwrap().problem.clone()
    };
    assert_eq!(problem("spool.path"), None);
    let why = problem("export.token_file").unwrap();
    assert!(why.contains("No such file"), "{why}");
    let told = format!("export.token_file {}/none: {why}", folder.path().display());
    assert!(found.missing.contains(&told), "{found}");
    assert!(found.to_string().contains("spool: usable\n"), "{found}");
}

#[test]
fn a_relabelled_tree_is_missing_something() {
    let label = "system_u:object_r:data_t:s0:c1,c2".to_owned();
    let facts = HostFacts {
        cgroup_labels: CgroupLabels::judge([("/".to_owned(), Some(label.clone()))]),
        ..HostFacts::default()
    };
    let found = check(&facts, None, &[]);
    let told = found.missing.last().unwrap();
    assert!(
        told.starts_with("SELinux: ") && told.contains(&label),
        "{told}"
    );
    assert!(found.to_string().contains(&label));
}
