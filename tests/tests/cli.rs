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
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

/// Built beside this test.
fn program() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let path: PathBuf = test.ancestors().nth(2).unwrap().join("plimsoll");
    assert!(path.exists(), "{} is not built", path.display());
    path
}

fn plimsoll(words: &[&str]) -> Output {
    Command::new(program()).args(words).output().unwrap()
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
            &["audit", "export", "--format", "ocsf-1.8", "/proc/version"],
            2,
        ),
        (
            &["audit", "export", "--format", "ocsf-1.8", "/no/such/file"],
            2,
        ),
        (&["audit", "export", "--format", "ocsf-1.9", "-"], 2),
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

/// Somebody whose kubeconfigs these are, and who asks for the accounting: exit code 2, and what is said.
/// A collector of somebody's may be at this machine's usual address: then it is asked in a network of its own, in
/// which nobody listens.
fn said_with(kubeconfig: Option<&str>, home: &std::path::Path, words: &[&str]) -> String {
    let usual = SocketAddr::from(([127, 0, 0, 1], 8080));
    let mut command = if TcpStream::connect(usual).is_ok() {
        let mut unshare = Command::new("unshare");
        unshare
            .args(["--net", "--map-root-user", "--"])
            .arg(program());
        unshare
    } else {
        Command::new(program())
    };
    command.args(["audit", "accounting"]).args(words);
    command.env_clear().env("HOME", home);
    if let Some(paths) = kubeconfig {
        command.env("KUBECONFIG", paths);
    }
    let output = command.stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.starts_with("plimsoll: "), "{said}");
    said
}

/// Where no kubeconfig is, one is asked for at this machine's own address, and that is told.
#[test]
fn which_kubeconfigs_were_looked_for_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).display().to_string();
    std::fs::create_dir(at(".kube")).unwrap();
    let usual = at(".kube/config");
    let (one, two) = (at("one"), at("two"));
    let said = said_with(None, folder.path(), &[]);
    let none = format!("(no kubeconfig was found, looked for {usual};");
    assert!(said.contains(&none), "{said}");
    let both = format!("{one}:{two}");
    let said = said_with(Some(&both), folder.path(), &[]);
    let none = format!("looked for {one}, {two};");
    assert!(said.contains(&none), "{said}");
    let said = said_with(Some(&both), folder.path(), &["--context", "prod"]);
    let none = format!("no kubeconfig was found (looked for {one}, {two})");
    assert!(said.contains(&none), "{said}");
    std::fs::write(&usual, "apiVersion: v1\ncurrent-context: \"\"\n").unwrap();
    let said = said_with(None, folder.path(), &[]);
    let none = format!("(the kubeconfig {usual} has no current-context;");
    assert!(said.contains(&none), "{said}");
}

/// A slip in a kubeconfig is told with file, line and column, and without the line: a token may be in it.
#[test]
fn a_slip_in_a_kubeconfig_is_told_by_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("kubeconfig").display().to_string();
    let text = "apiVersion: v1\nusers:\n- name: u\n  user:\n    token: SECRET: oops\n";
    std::fs::write(&path, text).unwrap();
    let by_option = said_with(None, folder.path(), &["--kubeconfig", &path]);
    let by_environment = said_with(Some(&path), folder.path(), &[]);
    assert_eq!(by_option, by_environment);
    assert_eq!(
        by_option,
        format!(
            "plimsoll: asking the collector: use the kubeconfig {path} (--kubeconfig, KUBECONFIG, --context; --server names a collector without one): line 5, column 18: mapping values are not allowed in this context\n"
        )
    );
}
