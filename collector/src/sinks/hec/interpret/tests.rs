//! Answers, and what they mean.

use super::*;

fn answer(status: u16, body: &str) -> Answer {
    Answer {
        status,
        body: body.as_bytes().to_vec(),
        retry_after_ms: None,
    }
}

fn of(status: u16, body: &str) -> Outcome {
    of_events(Reply::Answered(answer(status, body)))
}

fn code(status: u16, code: i64) -> Outcome {
    of(status, &format!(r#"{{"text":"words","code":{code}}}"#))
}

fn refusal(outcome: Outcome) -> Refusal {
    match outcome {
        Outcome::Refused(refusal) => refusal,
        other => panic!("{other:?}"),
    }
}

#[test]
fn only_code_0_is_a_success() {
    for (body, expect) in [
        (r#"{"text":"Success","code":0}"#, None),
        (r#"{"text":"Success","code":0,"ackId":"a"}"#, None),
        (r#"{"text":"Success","code":0,"ackId":0}"#, Some(0)),
        (
            r#"{"text":"Success","code":0,"ackId":7,"more":[]}"#,
            Some(7),
        ),
    ] {
        let Outcome::Taken { ack_id } = of(200, body) else {
            panic!("{body}");
        };
        assert_eq!(ack_id, expect);
    }
    for body in [
        "",
        "{}",
        "<html>",
        "[]",
        r#"{"text":"Suc"#,
        r#"{"code":"0"}"#,
        r#"{"code":17}"#,
    ] {
        let refusal = refusal(of(200, body));
        assert_eq!(refusal.kind, RefusalKind::Unavailable, "{body}");
        assert!(
            refusal.is_in_doubt && refusal.help.contains("not believed"),
            "{body}"
        );
    }
    assert!(refusal(of(204, "")).is_in_doubt);
}

#[test]
fn every_code_is_somebodys_to_end() {
    use RefusalKind::{Credentials, Missing, Other, Throttled, Unavailable};

    for (status, number, kind, help) in [
        (403, 1, Credentials, "the token is disabled"),
        (401, 2, Credentials, "not known"),
        (401, 3, Credentials, "not known"),
        (403, 4, Credentials, "not known"),
        (400, 5, Other, "nothing in the call"),
        (400, 7, Missing, "make the index"),
        (500, 8, Unavailable, ""),
        (503, 9, Throttled, ""),
        (400, 10, Other, "set acknowledgement: true"),
        (400, 11, Unavailable, "another channel"),
        (400, 14, Other, "set acknowledgement: false"),
        (503, 18, Unavailable, ""),
        (503, 19, Unavailable, ""),
        (503, 20, Unavailable, ""),
        (400, 21, Credentials, "not known"),
        (400, 22, Credentials, "disabled"),
        (503, 23, Unavailable, ""),
        (429, 26, Throttled, ""),
        (400, 99, Other, ""),
    ] {
        let refusal = refusal(code(status, number));
        assert_eq!(refusal.kind, kind, "{number}");
        assert!(refusal.help.contains(help), "{number}: {}", refusal.help);
        assert_eq!(refusal.is_in_doubt, status >= 500, "{number}");
        assert_eq!(refusal.is_of_channel, number == 11);
        let told = format!("HTTP status {status}: words (code {number})");
        assert_eq!(refusal.source.to_string(), told);
    }
}

/// What stands between answers without a code.
#[test]
fn an_answer_that_is_not_splunks_is_read_by_its_status() {
    for (status, kind, is_in_doubt) in [
        (301, RefusalKind::Other, false),
        (307, RefusalKind::Other, false),
        (400, RefusalKind::Other, false),
        (401, RefusalKind::Credentials, false),
        (403, RefusalKind::Denied, false),
        (404, RefusalKind::Missing, false),
        (408, RefusalKind::Unavailable, true),
        (429, RefusalKind::Throttled, false),
        (500, RefusalKind::Unavailable, true),
        (502, RefusalKind::Unavailable, true),
        (504, RefusalKind::Unavailable, true),
    ] {
        let refusal = refusal(of(status, "<html>"));
        assert_eq!(
            (refusal.kind, refusal.is_in_doubt),
            (kind, is_in_doubt),
            "{status}"
        );
        assert_eq!(refusal.source.to_string(), format!("HTTP status {status}"));
    }
    assert!(matches!(of(413, "<html>"), Outcome::TooLarge(_)));
}

#[test]
fn an_invalid_event_has_its_place_or_none() {
    for number in [6, 12, 13, 15] {
        assert!(matches!(
            code(400, number),
            Outcome::Invalid { place: None, .. }
        ));
    }
    for (given, expect) in [("3", Some(3)), ("-1", None), ("null", None)] {
        let body =
            format!(r#"{{"text":"Invalid data format","code":6,"invalid-event-number":{given}}}"#);
        let Outcome::Invalid { place, said } = of(400, &body) else {
            panic!("{body}");
        };
        assert_eq!(place, expect);
        let told = "HTTP status 400: Invalid data format (code 6)";
        assert_eq!(said.to_string(), told);
    }
}

#[test]
fn words_are_short_and_of_one_line() {
    let body = format!(r#"{{"text":"a\nb{}","code":4}}"#, "ä".repeat(300));
    let said = refusal(of(403, &body)).source.to_string();
    assert!(
        said.starts_with("HTTP status 403: a bä") && said.chars().count() < 230,
        "{said}"
    );
}

#[test]
fn what_the_other_side_asks_for_and_what_failed_is_handed_on() {
    let answer = Answer {
        retry_after_ms: Some(7000),
        ..answer(503, "")
    };
    let refused = refusal(of_events(Reply::Answered(answer)));
    assert_eq!(refused.retry_after_ms, Some(7000));
    let failure = Failure {
        kind: RefusalKind::Credentials,
        help: ": h".into(),
        is_in_doubt: true,
        source: "why".into(),
    };
    let refused = refusal(of_events(Reply::Failed(failure)));
    assert_eq!(
        (refused.kind, refused.is_in_doubt),
        (RefusalKind::Credentials, true)
    );
    assert_eq!(
        (refused.help.as_str(), refused.source.to_string().as_str()),
        (": h", "why")
    );
}

#[test]
fn acknowledgements_are_those_that_are_true() {
    let asked = |status, body| of_question(Reply::Answered(answer(status, body)));
    let body = r#"{"acks":{"0":true,"1":false,"12":true}}"#;
    assert_eq!(asked(200, body).unwrap(), [0, 12]);
    assert_eq!(asked(200, r#"{"acks":{}}"#).unwrap(), [0; 0]);
    for body in ["", "{}", r#"{"acks":{"a":true}}"#, r#"{"acks":{"0":1}}"#] {
        assert_eq!(asked(200, body).unwrap_err().kind, RefusalKind::Unavailable);
    }
    let disabled = asked(400, r#"{"text":"ACK is disabled","code":14}"#).unwrap_err();
    assert_eq!(disabled.help, NO_ACKNOWLEDGEMENT);
    let refused = asked(503, body).unwrap_err();
    assert_eq!(refused.kind, RefusalKind::Unavailable);
}
