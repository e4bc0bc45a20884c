//! Texts, and what is said about them.

use plimsoll_settings::Lines;

use super::*;

/// All mistakes of a text, each as `collector.yaml` says it without its name.
#[track_caller]
fn check(text: &str, expect: &[&str]) {
    let said = match Config::parse("collector.yaml", text) {
        Ok(_) => Vec::new(),
        Err(ConfigError(lines)) => lines,
    };
    let said: Vec<_> = said
        .iter()
        .map(|line| line.strip_prefix("collector.yaml").unwrap())
        .collect();
    assert_eq!(said, expect);
}

#[test]
fn the_documented_file_is_the_default() {
    assert_eq!(
        Config::parse("default.yaml", DOCUMENTED).unwrap(),
        Config::default()
    );
    assert_eq!(Config::parse("empty.yaml", "").unwrap(), Config::default());
}

/// Every setting is known to the diagnosis, and documented.
#[test]
fn no_setting_is_forgotten() {
    let of_top = |name: &&str| !name.contains('.');
    let mut names: Vec<_> = sections().into_iter().map(|(name, _)| name).collect();
    names.push("sinks");
    names.retain(of_top);
    let mut all = names_of::<Config>().to_vec();
    names.sort_unstable();
    all.sort_unstable();
    assert_eq!(names.as_slice(), all);
    // Of the sinks, which there are none of by default, an example shows each.
    let documented = format!("{DOCUMENTED}sinks:\n{}", example());
    let documented = Lines::of(&documented.replace("sinks: []\n", ""));
    let sinks = ("sinks[]", names_of::<SinkSettings>());
    for (section, settings) in sections().into_iter().chain([sinks]) {
        assert!(!settings.is_empty(), "{section}");
        for setting in settings {
            let place = format!("{section}.{setting}");
            let at = (0..9).map(|at| place.replace("[]", &format!("[{at}]")));
            let is_there = |place: String| documented.has(&place);
            assert!(at.into_iter().any(is_there), "{place}");
        }
    }
}

/// The sinks of the documented example: what is written above `sinks`, indented by more than its text.
fn example() -> String {
    let lines = DOCUMENTED.lines();
    let lines = lines.filter_map(|line| line.strip_prefix("#   "));
    let lines: Vec<_> = lines.map(|line| format!("  {line}\n")).collect();
    lines.concat()
}

#[test]
fn the_documented_example_of_sinks_is_taken() {
    let config = Config::parse("example", &format!("sinks:\n{}", example())).unwrap();
    assert_eq!(config.sinks().len(), config.sinks.len());
    let kinds = |sink: &Sink| std::mem::discriminant(&sink.kind);
    let kinds: std::collections::HashSet<_> = config.sinks().iter().map(kinds).collect();
    assert_eq!(kinds.len(), 8, "every kind is shown");
}

#[test]
fn mistakes_come_all_at_once_with_their_place() {
    check("http: { listen: '127.0.0.1:1' }\n", &[]);
    check(
        "http: { listen: '0.0.0.0:1' }\ningest: { listen: '0.0.0.0:2', tls_key_file: k }\n",
        &[
            ":1: http.listen: must be a loopback address while http.access is loopback: nobody is \
             asked who they are",
            ":2: ingest.tls_key_file: must be given together with ingest.tls_cert_file",
            ":2: ingest.listen: must be a loopback address while ingest.tls_cert_file is not given",
        ],
    );
    check(
        "ingest:\n  tls_cert_file: c\n",
        &[":2: ingest.tls_cert_file: must be given together with ingest.tls_key_file"],
    );
}

#[test]
fn mistakes_of_shape_and_of_value_come_together_with_line_and_field() {
    check(
        "data: { max_journal_age_s: 59, max_trail_age_s: 315360001 }\n",
        &[
            ":1: data.max_journal_age_s: must be null or 60 to 315360000 (ten years)",
            ":1: data.max_trail_age_s: must be null or 60 to 315360000 (ten years)",
        ],
    );
    check(
        "data:\n\
         \x20 max_journal_bytes: 4GiB\n\
         ingest:\n\
         \x20 listn: here\n\
         \x20 tokens:\n\
         \x20   - { node: a, file: /a }\n\
         \x20   - { node: [b], fil: /b }\n\
         \x20   - c\n\
         \x20   - node: ''\n\
         \x20     file: /a\n\
         http:\n\
         \x20 listen: here\n\
         inventory:\n\
         \x20 paths: /objects\n\
         \x20 reload_s: 0\n\
         audit_file: []\n",
        &[
            ":2: data.max_journal_bytes: must be a plain number of bytes, as 1048576, not 4GiB",
            ":4: ingest.listn: there is no such setting; did you mean listen?",
            ":7: ingest.tokens[1].node: must be a single value",
            ":7: ingest.tokens[1].fil: there is no such setting; did you mean file?",
            ":7: ingest.tokens[1].file: must be the path of a file",
            ":8: ingest.tokens[2]: must be settings: node, file",
            ":9: ingest.tokens[3].node: must be a node's name: 253 letters, digits, `-`, `.` and `_` at \
             the most, the first and the last a letter or digit",
            ":10: ingest.tokens[3].file: must not be the file of another token",
            ":12: http.listen: must be an address and port, as 127.0.0.1:8080, not here",
            ":14: inventory.paths: must be a list, not /objects",
            ":15: inventory.reload_s: must be at least 1",
            ":16: audit_file: must be a section of settings",
        ],
    );
    check(
        "ingest:\n  tokens:\n  - {node: node/1, file: /a}\n  - {node: plimsoll-collector, file: /b}\n",
        &[
            ":3: ingest.tokens[0].node: must be a node's name: 253 letters, digits, `-`, `.` and `_` at \
             the most, the first and the last a letter or digit",
            ":4: ingest.tokens[1].node: must not be plimsoll-collector: the collector's own records \
             carry that name",
        ],
    );
    check(
        "htp: {}",
        &[":1: htp: there is no such setting; did you mean http?"],
    );
    check(
        "inventory:\n  paths:\n    - a\n    - [b]\n",
        &[":4: inventory.paths[1]: must be a single value"],
    );
    check(
        "data: {path: ''}\naudit_file: {path: ''}\ninventory:\n  paths:\n  - ''\ningest:\n  tls_cert_file: ''\n  tls_key_file: ''\n",
        &[
            ":1: data.path: must be the path of a folder",
            ":2: audit_file.path: must be the path of a folder",
            ":5: inventory.paths[0]: must be the path of a file or folder",
            ":7: ingest.tls_cert_file: must be the path of a file",
            ":8: ingest.tls_key_file: must be the path of a file",
        ],
    );
    check(
        "history:\n  max_series: 10\n",
        &[":2: history.max_series: must lie between 1000 and 1000000"],
    );
    check("ingest: [", &[":1: unclosed bracket '['"]);
}

#[test]
fn who_may_come_in_is_checked_whole() {
    let review = |text: &str| format!("ingest:\n  token_review:\n{text}");
    let whole = "    audience: ours\n    service_accounts:\n    - plimsoll-agent/plimsoll-agent\n";
    check(&review(whole), &[]);
    let names = ["x", "a/", "a/b/c", "A/b", "-a/b"];
    let wrong = |at: usize| {
        format!(
            ":4: ingest.token_review.service_accounts[{at}]: must be NAMESPACE/NAME, as plimsoll-agent/plimsoll-agent"
        )
    };
    let mut said =
        vec![":3: ingest.token_review.audience: must be a word, as plimsoll-collector".to_owned()];
    said.extend((0..names.len()).map(wrong));
    let said: Vec<&str> = said.iter().map(String::as_str).collect();
    let accounts = format!(
        "    audience: a b\n    service_accounts: [{}, a/b]\n",
        names.join(", ")
    );
    check(&review(&accounts), &said);
    check(
        &review("    audience: ours\n"),
        &[
            ":3: ingest.token_review.audience: must be given together with \
             ingest.token_review.service_accounts: without one nobody may send",
        ],
    );
    check(
        &review("    service_accounts: [a/b]\n"),
        &[
            ":3: ingest.token_review.service_accounts: must be given together with \
             ingest.token_review.audience",
        ],
    );
    check(
        "ingest: {node_bytes_per_s: 1, node_burst_bytes: 1, node_requests_per_s: 0, node_burst_requests: 0}\n",
        &[
            ":1: ingest.node_burst_bytes: must be at least ingest.max_request_bytes",
            ":1: ingest.node_bytes_per_s: must be at least 1024",
            ":1: ingest.node_requests_per_s: must be at least 1",
            ":1: ingest.node_burst_requests: must be at least 1",
        ],
    );
}

#[test]
fn pages_are_for_everybody_on_loopback_only() {
    let http = |text: &str| format!("http: {{{text}}}\n");
    let tls = "tls_cert_file: c, tls_key_file: k";
    for fine in [
        "access: kubernetes",
        &format!("access: kubernetes, listen: '0.0.0.0:1', {tls}, client_ca_file: a"),
        tls,
    ] {
        check(&http(fine), &[]);
    }
    check(
        &http("access: kubernetes, listen: '0.0.0.0:1', client_ca_file: a, tls_key_file: k"),
        &[
            ":1: http.tls_key_file: must be given together with http.tls_cert_file",
            ":1: http.listen: must be a loopback address while http.tls_cert_file is not given: tokens \
             would go in plain text",
            ":1: http.client_ca_file: must be given together with http.tls_cert_file",
        ],
    );
    check(
        &http(&format!("listen: '0.0.0.0:1', client_ca_file: a, {tls}")),
        &[
            ":1: http.listen: must be a loopback address while http.access is loopback: nobody is \
             asked who they are",
            ":1: http.client_ca_file: must be left out while http.access is loopback: nobody is asked \
             who they are",
        ],
    );
    check(
        &http("access: open"),
        &[
            ":1: http.access: unknown variant `open`, expected one of loopback, kubernetes, not open",
        ],
    );
    check(
        "kubernetes: {kubeconfig: ''}\n",
        &[":1: kubernetes.kubeconfig: must be the path of a file"],
    );
}
