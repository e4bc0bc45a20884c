use proptest::prelude::*;

use super::*;

fn reply(status: u16, body: &str) -> Reply {
    Reply::Answered(Answer {
        status,
        body: body.as_bytes().to_vec(),
        retry_after_ms: None,
    })
}

/// What is said of one event.
fn item(status: u16, class: &str) -> Outcome {
    let error =
        format!(r#","error":{{"type":"{class}","reason":"r","caused_by":{{"reason":"c"}}}}"#);
    let error = if class.is_empty() { "" } else { &error };
    let is_wrong = status >= 300;
    let body = format!(
        r#"{{"errors":{is_wrong},"items":[{{"create":{{"_id":"a","status":{status}{error}}}}}]}}"#
    );
    of(reply(200, &body), &["a".to_owned()])
}

#[test]
fn each_event_has_a_status_of_its_own() {
    let conflict = "version_conflict_engine_exception";
    for (status, class) in [(201, ""), (200, ""), (409, conflict)] {
        let Outcome::Items(items) = item(status, class) else {
            panic!("{status} {class}");
        };
        assert!(matches!(items[..], [Item::There]), "{status} {class}");
    }
    for class in [
        "document_parsing_exception",
        "mapper_parsing_exception",
        "strict_dynamic_mapping_exception",
    ] {
        let Outcome::Items(items) = item(400, class) else {
            panic!("{class}");
        };
        let [Item::Invalid(said)] = &items[..] else {
            panic!("{class}");
        };
        assert_eq!(said.to_string(), format!("status 400: {class}: r: c"));
    }
    for (status, class, kind) in [
        (
            429,
            "es_rejected_execution_exception",
            RefusalKind::Throttled,
        ),
        (429, "cluster_block_exception", RefusalKind::Denied),
        (
            503,
            "unavailable_shards_exception",
            RefusalKind::Unavailable,
        ),
        (500, "exception", RefusalKind::Unavailable),
        (404, "index_not_found_exception", RefusalKind::Missing),
        (400, "index_not_found_exception", RefusalKind::Missing),
        (403, "security_exception", RefusalKind::Denied),
        (403, "cluster_block_exception", RefusalKind::Denied),
        (401, "security_exception", RefusalKind::Credentials),
        (409, "other", RefusalKind::Other),
        (409, "", RefusalKind::Other),
        (400, "", RefusalKind::Other),
        (400, "illegal_argument_exception", RefusalKind::Other),
        (400, "validation_exception", RefusalKind::Other),
        (400, "index_closed_exception", RefusalKind::Other),
        (400, "invalid_index_name_exception", RefusalKind::Other),
        (201, "exception", RefusalKind::Unavailable),
    ] {
        match item(status, class) {
            Outcome::Items(items) => {
                let [Item::Refused(refusal)] = &items[..] else {
                    panic!("{status} {class}");
                };
                assert_eq!(refusal.kind, kind, "{status} {class}");
            }
            Outcome::Refused(refusal) => assert_eq!(refusal.kind, kind, "{status} {class}"),
            other => panic!("{status} {class}: {other:?}"),
        }
    }
}

/// One name for what is wrong with a document, and for what an operator has to mend.
#[test]
fn an_illegal_argument_is_of_a_document_or_of_what_is_around_it() {
    for (reason, is_of_document) in [
        (
            "mapper [a.b] cannot be changed from type [long] to [text]",
            true,
        ),
        (
            "can't merge a non object mapping [a] with an object mapping [a]",
            true,
        ),
        ("Limit of total fields [1000] has been exceeded", true),
        (
            "Document contains at least one immense term in field=\\\"a\\\"",
            true,
        ),
        ("pipeline with id [p] does not exist", false),
        (
            "no write index is defined for alias [audit]. The write index may be",
            false,
        ),
        (
            "Validation Failed: 1: this action would add [2] shards, but this cluster currently has [1000]/[1000] \
             maximum normal shards open;",
            false,
        ),
    ] {
        let body = format!(
            r#"{{"errors":true,"items":[{{"create":{{"_id":"a","status":400,"error":{{
            "type":"illegal_argument_exception","reason":"{reason}"}}}}}}]}}"#
        );
        let Outcome::Items(items) = of(reply(200, &body), &["a".to_owned()]) else {
            panic!("{reason}");
        };
        match &items[..] {
            [Item::Invalid(_)] => assert!(is_of_document, "{reason}"),
            [Item::Refused(refusal)] => {
                assert!(!is_of_document, "{reason}");
                assert_eq!(refusal.kind, RefusalKind::Other);
                assert!(refusal.help.contains("pipeline"), "{}", refusal.help);
            }
            other => panic!("{reason}: {other:?}"),
        }
    }
}

/// It has another name there, and is not where it was to be.
#[test]
fn what_is_in_the_failure_store_was_not_taken() {
    let of_one = |store: &str| {
        let body = format!(
            r#"{{"errors":false,"items":[{{"create":{{"_id":"made-up","status":201,"failure_store":"{store}"}}}}]}}"#
        );
        of(reply(200, &body), &["a".to_owned()])
    };
    let Outcome::Items(items) = of_one("used") else {
        panic!("not believed");
    };
    let [Item::Invalid(said)] = &items[..] else {
        panic!("{items:?}");
    };
    assert!(said.to_string().contains("failure store"), "{said}");
    assert!(matches!(of_one("not_enabled"), Outcome::Refused(_)));
}

#[test]
fn an_answer_that_is_none_to_the_call_is_not_believed() {
    let one = r#"{"create":{"_id":"a","status":201}}"#;
    for body in [
        "",
        "<html>",
        "{}",
        r#"{"errors":false}"#,
        r#"{"items":[]}"#,
        r#"{"errors":false,"items":[]}"#,
        &format!(r#"{{"errors":false,"items":[{one},{one}]}}"#),
        r#"{"errors":false,"items":[{"create":{"_id":"b","status":201}}]}"#,
        r#"{"errors":false,"items":[{"index":{"_id":"a","status":201}}]}"#,
        r#"{"errors":false,"items":[{"create":{"status":201}}]}"#,
        r#"{"errors":false,"items":[{"create":{"_id":"a","status":70000}}]}"#,
        r#"{"errors":false,"items":[{"create":{"_id":"a","status":429,"error":{"type":"x"}}}]}"#,
    ] {
        let Outcome::Refused(refusal) = of(reply(200, body), &["a".to_owned()]) else {
            panic!("{body}");
        };
        assert_eq!(refusal.kind, RefusalKind::Unavailable, "{body}");
        assert!(refusal.help.contains("not believed"), "{body}");
    }
}

#[test]
fn a_whole_call_is_refused_by_its_status() {
    let error =
        |class: &str| format!(r#"{{"error":{{"type":"{class}","reason":"r"}},"status":0}}"#);
    for (status, body, kind) in [
        (401, error("security_exception"), RefusalKind::Credentials),
        (401, "Unauthorized".to_owned(), RefusalKind::Credentials),
        (403, error("security_exception"), RefusalKind::Denied),
        (404, String::new(), RefusalKind::Missing),
        (
            404,
            error("index_not_found_exception"),
            RefusalKind::Missing,
        ),
        (307, String::new(), RefusalKind::Other),
        (400, String::new(), RefusalKind::Other),
        (400, error("illegal_argument_exception"), RefusalKind::Other),
        (
            429,
            error("es_rejected_execution_exception"),
            RefusalKind::Throttled,
        ),
        (408, String::new(), RefusalKind::Unavailable),
        (502, "<html>".to_owned(), RefusalKind::Unavailable),
        (503, String::new(), RefusalKind::Unavailable),
        (204, String::new(), RefusalKind::Unavailable),
    ] {
        let Outcome::Refused(refusal) = of(reply(status, &body), &["a".to_owned()]) else {
            panic!("{status}");
        };
        assert_eq!(refusal.kind, kind, "{status} {body}");
    }
    let invalid = of(reply(400, &error("x_content_parse_exception")), &[]);
    assert!(matches!(invalid, Outcome::Invalid(_)));
    assert!(matches!(of(reply(413, ""), &[]), Outcome::TooLarge(_)));
}

proptest! {
    /// Whatever comes back: nothing is taken for there of which it does not say so.
    #[test]
    fn any_answer_is_read(status in any::<u16>(), body in prop::collection::vec(any::<u8>(), 0..200)) {
        let answer = Answer { status, body, retry_after_ms: None };
        let outcome = of(Reply::Answered(answer), &["a".to_owned()]);
        prop_assert!(!matches!(outcome, Outcome::Items(_)));
    }
}
