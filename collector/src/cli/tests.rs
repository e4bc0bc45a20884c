#![expect(
    clippy::disallowed_methods,
    reason = "test: serves the API on a loopback port of its own"
)]

use std::sync::Arc;

use super::*;
use crate::api::{AccountingDocument, ApiState, AuditRing, StageRow, router};
use crate::history::{History, Limits};
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

#[test]
fn an_unreachable_collector_is_exit_2_and_named() {
    // Port 1 of the loopback: nothing listens there.
    let (exit, out, err) = call(&["sizing", "report", "--server", "http://127.0.0.1:1"]);
    assert_eq!((exit, out.as_str()), (Exit::Usage, ""));
    assert!(err.contains("http://127.0.0.1:1/api/v1/sizing"), "{err}");
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
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let listener = runtime
        .block_on(tokio::net::TcpListener::bind("127.0.0.1:0"))
        .unwrap();
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

    let (exit, out, err) = call_served(&["audit", "query", "--since", "noon"]);
    assert_eq!((exit, out.as_str()), (Exit::Usage, ""));
    assert!(err.contains("`noon` is neither"), "{err}");
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
