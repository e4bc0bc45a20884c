#![expect(
    clippy::disallowed_methods,
    reason = "test: serves the API on a loopback port of its own"
)]

mod over_tls;
mod verify;

use std::sync::Arc;

use super::*;
use crate::api::{AccountingDocument, ApiState, AuditRing, StageRow, router};
use crate::history::{History, Limits};
use crate::sizing::Setting;
use plimsoll_wire::fate::Fates;

/// Exit code, standard output, standard error.
fn call(args: &[&str]) -> (Exit, String, String) {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let args = std::iter::once("plimsoll")
        .chain(args.iter().copied())
        .map(OsString::from);
    let exit = run(args, &mut out, &mut err);
    (
        exit,
        String::from_utf8(out).unwrap(),
        String::from_utf8(err).unwrap(),
    )
}

#[test]
fn the_arguments_are_consistent() {
    Cli::command().debug_assert();
}

#[test]
fn help_is_an_answer_and_reads_like_documentation() {
    let (exit, out, err) = call(&["sizing", "report", "--help"]);
    assert_eq!((exit, err.as_str()), (Exit::Success, ""));
    for promised in ["95th percentile", "PLIMSOLL_SERVER", "--selector", "csv"] {
        assert!(out.contains(promised), "{promised} is missing in {out}");
    }
}

/// Every command says what it is for; every argument what it does; what can be run, how.
fn check_help(command: &mut clap::Command, path: &str) -> usize {
    let about = command.get_about().map(ToString::to_string);
    assert!(
        about.is_some_and(|about| about.len() > 20),
        "{path}: no about"
    );
    for argument in command.get_arguments() {
        let help = argument.get_help().map(ToString::to_string);
        assert!(
            help.is_some_and(|help| help.len() > 7),
            "{path}: {}",
            argument.get_id()
        );
    }
    let inner: Vec<String> = command
        .get_subcommands()
        .map(|inner| inner.get_name().to_owned())
        .collect();
    if inner.is_empty() {
        let text = command.render_long_help().to_string();
        assert!(text.contains("Examples:\n  "), "{path}: {text}");
        let longest = text.lines().map(|line| line.chars().count()).max();
        assert!(longest <= Some(100), "{path} is {longest:?} wide: {text}");
        return 1;
    }
    let mut commands = 0;
    for name in inner {
        let inner = command.find_subcommand_mut(&name).unwrap();
        commands += check_help(inner, &format!("{path} {name}"));
    }
    commands
}

#[test]
fn every_command_is_documented_with_an_example() {
    assert!(check_help(&mut Cli::command(), "plimsoll") >= 6);
}

#[test]
fn bad_usage_is_exit_2_and_names_the_word() {
    for (args, word) in [
        (&["sizing", "report", "--colour"][..], "--colour"),
        (&["sizing", "report", "-o", "xml"], "xml"),
        (&["audit", "query", "--limit", "0"], "0"),
        (&["audit", "sing"], "sing"),
    ] {
        let (exit, out, err) = call(args);
        assert_eq!((exit, out.as_str()), (Exit::Usage, ""), "{args:?}");
        assert!(err.contains(word), "{err}");
    }
}

/// Before any server is asked.
#[test]
fn a_text_that_is_no_selector_is_bad_usage() {
    for (text, place) in [
        ("a===b", "character 4: `=`"),
        ("a in ()", "character 7: `)`"),
        ("a,,b", "character 3: `,`"),
    ] {
        let server = ["--server", "http://127.0.0.1:1"];
        let (exit, out, err) = call(&[&["sizing", "report", "-l", text], &server[..]].concat());
        assert_eq!((exit, out.as_str()), (Exit::Usage, ""));
        assert!(
            err.contains(&format!("'{text}'")) && err.contains(place),
            "{err}"
        );
    }
}

/// Answered with everything, it would be taken for the answer to what was meant.
#[test]
fn an_empty_filter_is_bad_usage() {
    for (args, option) in [
        (&["sizing", "report", "-n", ""][..], "--namespace"),
        (&["sizing", "report", "-l", ""], "--selector"),
        (&["sizing", "report", "--selector= "], "--selector"),
        (&["audit", "query", "--since", ""], "--since"),
        (&["audit", "query", "--since", " "], "--since"),
        (&["audit", "query", "--workload="], "--workload"),
        (&["audit", "tail", "-n", ""], "--namespace"),
    ] {
        let (exit, out, err) = call_served(args);
        assert_eq!((exit, out.as_str()), (Exit::Usage, ""), "{args:?}");
        assert!(err.contains(option) && err.contains("it is empty"), "{err}");
    }
}

#[test]
fn an_address_that_is_none_is_bad_usage() {
    for (server, why) in [
        ("http://127.0.0.1:1/?x", "a query or a fragment"),
        ("http://127.0.0.1:1#x", "a query or a fragment"),
        ("127.0.0.1:1", "does not begin with http://"),
        ("ftp://127.0.0.1", "does not begin with http://"),
        ("", "does not begin with http://"),
        ("http://", "no host"),
        ("http://a b", "malformed"),
    ] {
        let (exit, out, err) = call(&["audit", "query", "--server", server]);
        assert_eq!((exit, out.as_str()), (Exit::Usage, ""), "{server}");
        assert!(
            err.contains("--server") && err.contains(why),
            "{server}: {err}"
        );
    }
    for server in [
        "HTTP://h",
        "http://h/",
        "https://h:1/behind/a/proxy",
        "http://[::1]:1",
    ] {
        assert_eq!(client::address(server).as_deref(), Ok(server));
    }
}

#[test]
fn an_unreachable_collector_is_exit_2_and_named() {
    // Port 1 of the loopback: nothing listens there.
    let (exit, out, err) = call(&["sizing", "report", "--server", "http://127.0.0.1:1"]);
    assert_eq!((exit, out.as_str()), (Exit::Usage, ""));
    assert!(err.contains("http://127.0.0.1:1/api/v1/sizing"), "{err}");
}

/// A port of the loopback, and whoever serves it.
fn listening() -> (tokio::runtime::Runtime, tokio::net::TcpListener) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let listener = runtime
        .block_on(tokio::net::TcpListener::bind("127.0.0.1:0"))
        .unwrap();
    (runtime, listener)
}

/// Calls against a collector that has two events and one unbalanced stage.
fn call_served(args: &[&str]) -> (Exit, String, String) {
    let dir = tempfile::tempdir().unwrap();
    let ring = AuditRing::default();
    ring.push(crate::api::tests::access(1, 1_000_000_000, "CRED", "shop"));
    ring.push(crate::api::tests::access(2, 2_000_000_000, "TOKEN", "data"));
    let fates = Fates {
        emitted: 3,
        delivered: 2,
        ..Fates::default()
    };
    let rows = vec![StageRow {
        node: None,
        stage: "sink".to_owned(),
        class: "security".to_owned(),
        destination: None,
        fates,
    }];
    let history = History::open(&dir.path().join("h.redb"), Limits::default()).unwrap();
    let state = ApiState::new(Arc::new(history), Arc::new(ring))
        .with_clock(|| 10_000_000_000)
        .with_accounting(Arc::new(move || rows.clone()));
    let (runtime, listener) = listening();
    let server = format!("http://{}", listener.local_addr().unwrap());
    let serving =
        runtime.spawn(async move { axum::serve(listener, router(Arc::new(state))).await });
    let answer = call(&[args, &["--server", &server]].concat());
    serving.abort();
    answer
}

#[test]
fn events_and_verdicts_of_a_collector() {
    let (exit, out, err) = call_served(&["audit", "query", "--class", "CRED"]);
    assert_eq!((exit, err.as_str()), (Exit::Success, ""));
    assert!(
        out.contains("shop/pod/app") && !out.contains("data/pod/app"),
        "{out}"
    );

    let (_, out, _) = call_served(&["audit", "tail", "-o", "json"]);
    let document: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(document["events"][0]["request"]["class"], "CRED");
    assert_eq!(document["events"][1]["request"]["class"], "TOKEN");

    let (exit, out, _) = call_served(&["audit", "accounting"]);
    assert_eq!(exit, Exit::Found);
    assert!(out.contains("1 records unaccounted for"), "{out}");

    let (exit, out, _) = call_served(&["sizing", "report"]);
    assert_eq!(
        (exit, out.as_str()),
        (
            Exit::Success,
            "No container matches, or none has a name in the inventory yet.\n"
        )
    );

    let (exit, out, _) = call_served(&["sizing", "report", "-o", "csv"]);
    let mut csv = csv::Reader::from_reader(out.as_bytes());
    let heads: Vec<_> = csv.headers().unwrap().iter().collect();
    assert_eq!(
        (exit, &heads[..2], heads.last(), heads.len()),
        (
            Exit::Success,
            &["namespace", "kind"][..],
            Some(&"current_unknown"),
            28
        )
    );
    assert!(csv.records().next().is_none());

    let (exit, out, err) = call_served(&["audit", "query", "--since", "noon"]);
    assert_eq!((exit, out.as_str()), (Exit::Usage, ""));
    assert!(err.contains("`noon` is neither"), "{err}");

    for command in ["tail", "query"] {
        let (exit, out, err) = call_served(&["audit", command, "--class", "cred,BOGUS"]);
        assert_eq!((exit, out.as_str()), (Exit::Usage, ""));
        assert!(
            err.contains("there is no `BOGUS`; there are CRED, CRED_LIST, ")
                && err.contains("imds, oom_kill, container_end, loss"),
            "{err}"
        );
    }
}

#[test]
fn completions_for_each_shell() {
    for shell in ["bash", "zsh", "fish"] {
        let (exit, out, _) = call(&["completions", shell]);
        assert_eq!(exit, Exit::Success);
        assert!(
            out.contains("sizing") && out.contains("accounting"),
            "{shell}"
        );
    }
}

#[test]
fn accounting_in_columns() {
    let fates = Fates {
        emitted: 10,
        delivered: 8,
        in_flight: 1,
        ..Fates::default()
    };
    let row = StageRow {
        node: None,
        stage: "sink".to_owned(),
        class: "security".to_owned(),
        destination: Some("file".to_owned()),
        fates,
    };
    let document = AccountingDocument::new(vec![row], 0);
    let mut out = Vec::new();
    audit::print_accounting(&document, Output::Table, &mut out).unwrap();
    insta::assert_snapshot!(String::from_utf8(out).unwrap());
}

#[test]
fn reports_in_every_form() {
    let report = crate::sizing::tests::sample_report();
    for (name, output) in [
        ("table", SizingOutput::Table),
        ("wide", SizingOutput::Wide),
        ("csv", SizingOutput::Csv),
        ("yaml", SizingOutput::Yaml),
    ] {
        let mut out = Vec::new();
        sizing::print(&report, output, &mut out).unwrap();
        insta::assert_snapshot!(format!("report_{name}"), String::from_utf8(out).unwrap());
    }
    let mut json = Vec::new();
    sizing::print(&report, SizingOutput::Json, &mut json).unwrap();
    assert_eq!(
        serde_json::from_slice::<crate::sizing::Report>(&json).unwrap(),
        report
    );
}

#[track_caller]
fn the_table_agrees(table: &str, found: &[serde_json::Value]) {
    let lines: Vec<&str> = table.lines().skip(1).collect();
    for (line, found) in lines.iter().zip(found) {
        let name = format!(
            "{}/{}",
            found["kind"].as_str().unwrap(),
            found["workload"].as_str().unwrap()
        );
        let cpu = found["cpu"]["request_millicores"].as_u64();
        let cpu = cpu.map_or("-".to_owned(), |millicores| format!("{millicores}m"));
        assert!(line.contains(&name), "{line}");
        assert!(
            line.split_whitespace().any(|word| word == cpu),
            "{cpu} is not in {line}"
        );
    }
}

#[test]
fn one_container_without_a_name_is_one() {
    let mut report = crate::sizing::tests::sample_report();
    let unnamed = crate::sizing::Unnamed {
        namespace: None,
        pod: None,
        pod_uid: None,
        container_id: None,
        node: "node-a".to_owned(),
        windows: 1,
        cpu_seconds: report.recommendations[0].cpu.statistics.seconds,
        memory_peak_bytes: None,
    };
    for told in [
        "\n1 more container has no name in the inventory: see -o json.\n",
        "\n2 more containers have no name in the inventory: see -o json.\n",
    ] {
        report.unnamed.push(unnamed.clone());
        let mut out = Vec::new();
        sizing::print(&report, SizingOutput::Table, &mut out).unwrap();
        let out = String::from_utf8(out).unwrap();
        assert!(out.ends_with(told), "{out}");
    }
}

/// The four forms tell the same numbers, as far as each goes.
#[test]
fn the_forms_of_a_report_agree() {
    let mut report = crate::sizing::tests::sample_report();
    // A second one, of which less is known.
    let mut poor = report.recommendations[0].clone();
    poor.workload = "poor".to_owned();
    (poor.current.limit_millicores, poor.current.request_bytes) = (None, None);
    (poor.cpu.request_millicores, poor.memory.oom_kills) = (None, None);
    poor.current.unknown = vec![Setting::LimitMillicores, Setting::RequestBytes];
    report.recommendations.push(poor);
    let text = |output| {
        let mut out = Vec::new();
        sizing::print(&report, output, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    };
    let json: serde_json::Value = serde_json::from_str(&text(SizingOutput::Json)).unwrap();
    let yaml: serde_json::Value = serde_saphyr::from_str(&text(SizingOutput::Yaml)).unwrap();
    assert_eq!(yaml, json, "YAML is the same document");

    let found = json["recommendations"].as_array().unwrap();
    assert!(found.len() > 1);
    let csv = text(SizingOutput::Csv);
    let mut csv = csv::Reader::from_reader(csv.as_bytes());
    let heads = csv.headers().unwrap().clone();
    let rows: Vec<_> = csv.records().map(Result::unwrap).collect();
    assert_eq!(rows.len(), found.len());
    let places = [
        ("namespace", "/namespace"),
        ("kind", "/kind"),
        ("workload", "/workload"),
        ("container", "/container"),
        ("role", "/role"),
        ("replicas", "/replicas"),
        (
            "current_cpu_request_millicores",
            "/current/request_millicores",
        ),
        ("current_cpu_limit_millicores", "/current/limit_millicores"),
        ("current_memory_request_bytes", "/current/request_bytes"),
        ("current_memory_limit_bytes", "/current/limit_bytes"),
        ("cpu_request_millicores", "/cpu/request_millicores"),
        ("cpu_limit_millicores", "/cpu/limit_millicores"),
        ("memory_request_bytes", "/memory/request_bytes"),
        ("memory_limit_bytes", "/memory/limit_bytes"),
        (
            "cpu_minute_p95_millicores",
            "/cpu/statistics/minute_means/p95_millicores",
        ),
        (
            "cpu_second_p99_millicores",
            "/cpu/statistics/seconds/p99_millicores",
        ),
        (
            "cpu_second_max_millicores",
            "/cpu/statistics/seconds/max_millicores",
        ),
        (
            "cpu_100ms_p99_millicores",
            "/cpu/statistics/periods_100ms/p99_millicores",
        ),
        ("throttled_share", "/cpu/throttled_share"),
        (
            "memory_working_set_peak_bytes",
            "/memory/peaks/working_set_bytes",
        ),
        ("memory_sampled_peak_bytes", "/memory/peaks/sampled_bytes"),
        ("oom_kills", "/memory/oom_kills"),
        ("windows", "/confidence/windows"),
        ("coverage", "/confidence/coverage"),
        ("waste_millicores", "/assessment/waste_millicores"),
        ("waste_bytes", "/assessment/waste_bytes"),
    ];
    for (row, found) in rows.iter().zip(found) {
        for (head, place) in places {
            let column = heads.iter().position(|name| name == head).unwrap();
            let expected = match found.pointer(place) {
                None | Some(serde_json::Value::Null) => String::new(),
                Some(serde_json::Value::String(text)) => text.clone(),
                Some(number) => number.to_string(),
            };
            assert_eq!(row[column], expected, "{head} and {place}");
        }
    }
    let last = heads.len() - 1;
    assert_eq!((&heads[last], &rows[0][last]), ("current_unknown", ""));
    assert_eq!(&rows[1][last], "limit_millicores request_bytes");
    let known = &json["recommendations"][1]["current"];
    assert_eq!(
        known["unknown"],
        serde_json::json!(["limit_millicores", "request_bytes"])
    );
    // No column is left out of the comparison but that and the level, which is in words of its own.
    assert_eq!(heads.len(), places.len() + 2);
    let wide = text(SizingOutput::Wide);
    let unknown = wide.split_whitespace().filter(|word| *word == "unknown");
    assert_eq!(unknown.count(), 2, "{wide}");

    the_table_agrees(&text(SizingOutput::Table), found);
}
