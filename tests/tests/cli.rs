//! The `plimsoll` command as a process: what a shell makes of its completions, and its exit codes.
#![expect(
    clippy::disallowed_methods,
    reason = "shell: runs the command and shells"
)]
#![expect(
    clippy::unwrap_used,
    reason = "a test says by failing what it expected"
)]

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

fn plimsoll(words: &[&str]) -> Output {
    let test = std::env::current_exe().unwrap();
    let path: PathBuf = test.ancestors().nth(2).unwrap().join("plimsoll");
    assert!(path.exists(), "{} is not built", path.display());
    Command::new(path).args(words).output().unwrap()
}

/// Feeds a shell; `None` where there is no such shell.
fn shell(program: &str, words: &[&str], input: &[u8]) -> Option<Output> {
    let mut child = Command::new(program)
        .args(words)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .ok()?;
    child.stdin.take().unwrap().write_all(input).unwrap();
    Some(child.wait_with_output().unwrap())
}

#[test]
fn shells_take_their_completions() {
    for name in ["bash", "zsh", "fish"] {
        let script = plimsoll(&["completions", name]);
        assert!(script.status.success() && script.stderr.is_empty());
        // All three: read the commands, run none of them.
        let Some(output) = shell(name, &["-n"], &script.stdout) else {
            println!("SKIP completions for {name}: {name} is not installed");
            continue;
        };
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && said.is_empty(), "{name}: {said}");
    }
}

#[test]
fn bash_completes_commands_flags_and_values() {
    let script = plimsoll(&["completions", "bash"]).stdout;
    for (words, expect) in [
        ("siz", "sizing"),
        ("sizing rep", "report"),
        ("sizing report --sel", "--selector"),
        ("sizing report -o y", "yaml"),
        ("audit acc", "accounting"),
        ("imds dec", "decode"),
        ("completions fi", "fish"),
    ] {
        let last = words.rsplit(' ').next().unwrap();
        let before = words.rsplit(' ').nth(1).unwrap_or("plimsoll");
        let count = words.split(' ').count();
        let ask = format!(
            "\nCOMP_WORDS=(plimsoll {words}); COMP_CWORD={count}\n\
             _plimsoll plimsoll '{last}' '{before}'; printf '%s\\n' \"${{COMPREPLY[@]}}\"\n"
        );
        let input = [&script[..], ask.as_bytes()].concat();
        let output = shell("bash", &["--norc"], &input).unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        assert_eq!(
            said.trim(),
            expect,
            "plimsoll {words}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
}

#[test]
fn exit_codes_are_kept() {
    for (words, code) in [
        (&["--help"][..], 0),
        (&["sizing", "report", "--help"], 0),
        (&["sizing", "report", "-o", "xml"], 2),
        (&["imds", "decode", "/no/such/file.pcap"], 2),
        // Garbage: this text is no capture.
        (&["imds", "decode", "/proc/version"], 2),
        (
            &["audit", "accounting", "--server", "http://127.0.0.1:1"],
            2,
        ),
    ] {
        let output = plimsoll(words);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{words:?}: {said}");
        assert_eq!(said.is_empty(), code == 0, "{words:?}: {said}");
        assert_eq!(output.stdout.is_empty(), code != 0, "{words:?}");
    }
    let said = plimsoll(&["imds", "decode", "/proc/version"]).stderr;
    assert_eq!(
        String::from_utf8(said).unwrap(),
        "plimsoll: decoding /proc/version, packet 1 at byte 0: this is neither pcap nor pcapng\n"
    );
}
