use super::*;
use crate::api::{AccountingDocument, StageRow};
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
