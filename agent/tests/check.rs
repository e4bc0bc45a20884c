//! `plimsoll-agent check` as a process on this host.
#![expect(
    clippy::disallowed_methods,
    reason = "runs the agent and writes its configuration"
)]
#![expect(
    clippy::unwrap_used,
    reason = "a test says by failing what it expected"
)]

use std::process::Command;

use serde_json::Value;

/// Exit code, standard output and log.
fn check(args: &[&str]) -> (Option<i32>, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_plimsoll-agent"))
        .arg("check")
        .args(args)
        .output()
        .unwrap();
    (
        output.status.code(),
        String::from_utf8(output.stdout).unwrap(),
        String::from_utf8(output.stderr).unwrap(),
    )
}

#[test]
fn it_says_the_same_in_both_forms_and_by_its_exit_code() {
    let (code, out, log) = check(&["-o", "json"]);
    let document: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(log, "");
    assert_eq!(document["schema"], "plimsoll.agent-check/v1");
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    assert_eq!(document["host"]["kernel"], kernel.trim());
    let missing = document["missing"].as_array().unwrap();
    assert_eq!(code, Some(i32::from(!missing.is_empty())), "{out}");
    let (text_code, text, _) = check(&[]);
    assert_eq!(text_code, code);
    for missing in missing {
        let line = format!("missing: {}", missing.as_str().unwrap());
        assert!(
            text.lines().any(|shown| shown == line),
            "{line} is not in\n{text}"
        );
    }
    let programs = document["programs"].as_array().unwrap();
    assert_eq!(programs.len(), 9);
    for program in programs {
        let skipped = program["action"] == "skip";
        assert_eq!(program["reason"].is_string(), skipped, "{program}");
        let name = program["name"].as_str().unwrap();
        assert!(
            text.lines().any(|line| line.starts_with(name)),
            "{name} is not in\n{text}"
        );
    }
}

#[test]
fn what_the_configuration_says_counts_and_its_mistakes_do() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("agent.yaml");
    let config = path.to_str().unwrap();
    let spool = folder.path().join("spool");
    let text = format!(
        "spool: {{ path: {} }}\nexport: {{ endpoint: 'http://127.0.0.1:4317' }}\nkernel: {{ enabled: false }}\n",
        spool.display()
    );
    std::fs::write(&path, text).unwrap();
    let (code, out, log) = check(&["--config", config, "-o", "json"]);
    assert_eq!(code, Some(1), "{log}");
    let document: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(
        document["missing"][0],
        "kernel programs: switched off by configuration"
    );
    assert!(!spool.exists(), "nothing is begun");
    std::fs::write(&path, "kernel: { enabeld: false }\n").unwrap();
    let (code, out, log) = check(&["--config", config]);
    assert_eq!((code, out.as_str()), (Some(64), ""));
    assert!(log.contains("enabeld"), "{log}");
}
