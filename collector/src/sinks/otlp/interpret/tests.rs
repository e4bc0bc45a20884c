use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsPartialSuccess;
use proptest::prelude::*;

use super::*;

fn success(rejected: i64, words: &str) -> Vec<u8> {
    let partial_success = Some(ExportLogsPartialSuccess {
        rejected_log_records: rejected,
        error_message: words.to_owned(),
    });
    ExportLogsServiceResponse { partial_success }.encode_to_vec()
}

fn framed_of(message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).unwrap();
    [&[0][..], &length.to_be_bytes(), message].concat()
}

/// The same over both protocols, of a call with two records.
fn taken(message: &[u8]) -> [Outcome; 2] {
    [
        Reply::Http(Answer {
            status: 200,
            is_protobuf: true,
            body: message.to_vec(),
            retry_after_ms: None,
        }),
        Reply::Grpc {
            code: Code::Ok,
            message: String::new(),
            details: Vec::new(),
            body: framed_of(message),
        },
    ]
    .map(|reply| of(reply, 2))
}

#[test]
fn a_call_is_taken_whole_or_in_part() {
    for outcome in taken(&[]).into_iter().chain(taken(&success(0, ""))) {
        assert!(
            matches!(outcome, Outcome::Taken { warning: None }),
            "{outcome:?}"
        );
    }
    for outcome in taken(&success(0, "soon\nno more")) {
        let Outcome::Taken { warning } = outcome else {
            panic!("{outcome:?}");
        };
        assert_eq!(warning.as_deref(), Some("soon no more"));
    }
    for count in [1, 2] {
        for outcome in taken(&success(count, "no")) {
            let Outcome::Partial { rejected, said } = outcome else {
                panic!("{outcome:?}");
            };
            assert_eq!(i64::try_from(rejected), Ok(count));
            assert!(said.text.ends_with("of 2 records rejected: no"), "{said}");
        }
    }
    for (message, kind) in [
        (success(3, "no"), RefusalKind::Unavailable),
        (success(-1, "no"), RefusalKind::Unavailable),
        (b"<html>".to_vec(), RefusalKind::Other),
    ] {
        for outcome in taken(&message) {
            let Outcome::Refused(refusal) = outcome else {
                panic!("{outcome:?}");
            };
            assert!(refusal.is_in_doubt && refusal.help.contains("not believed"));
            assert_eq!(refusal.kind, kind);
        }
    }
}

/// As Grafana Cloud answers, which has nothing to say.
#[test]
fn an_answer_over_http_without_a_body_says_that_all_is_taken() {
    for (status, is_protobuf) in [(204, false), (204, true), (200, false), (200, true)] {
        let outcome = of_status(status, is_protobuf, Vec::new());
        assert!(matches!(outcome, Outcome::Taken { warning: None }));
    }
    for (status, body) in [(200, &b"<html>"[..]), (201, b"{}"), (202, b"")] {
        let Outcome::Refused(refusal) = of_status(status, false, body.to_vec()) else {
            panic!("{status}");
        };
        assert_eq!(refusal.kind, RefusalKind::Other);
        assert!(refusal.is_in_doubt && refusal.help.contains("not believed"));
    }
}

#[test]
fn a_frame_that_is_none_is_not_believed() {
    let whole = framed_of(&success(0, ""));
    let packed = [&[1][..], &whole[1..]].concat();
    let two = [whole.as_slice(), &whole].concat();
    for body in [&[][..], &whole[..4], &whole[..5], &packed, &two] {
        let reply = Reply::Grpc {
            code: Code::Ok,
            message: String::new(),
            details: Vec::new(),
            body: body.to_vec(),
        };
        assert!(matches!(of(reply, 1), Outcome::Refused(_)), "{body:?}");
    }
}

fn retry_info(seconds: i64, nanos: i32) -> Vec<u8> {
    let info = RetryInfo {
        retry_delay: Some(Delay { seconds, nanos }),
    };
    let any = Any {
        type_url: "type.googleapis.com/google.rpc.RetryInfo".to_owned(),
        value: info.encode_to_vec(),
    };
    let details = vec![any];
    Status {
        message: "later".to_owned(),
        details,
    }
    .encode_to_vec()
}

fn of_grpc(code: Code, message: &str, details: Vec<u8>) -> Outcome {
    let reply = Reply::Grpc {
        code,
        message: message.to_owned(),
        details,
        body: Vec::new(),
    };
    of(reply, 2)
}

#[test]
fn a_call_over_grpc_is_refused_by_its_code() {
    use RefusalKind::{Credentials, Denied, Missing, Other, Throttled, Unavailable};
    for (code, details, kind, is_in_doubt, retry) in [
        (Code::Unavailable, vec![], Unavailable, true, None),
        (
            Code::Unavailable,
            retry_info(3, 0),
            Unavailable,
            true,
            Some(3000),
        ),
        (Code::DeadlineExceeded, vec![], Unavailable, true, None),
        (Code::Aborted, vec![], Unavailable, true, None),
        (Code::Cancelled, vec![], Unavailable, true, None),
        (Code::OutOfRange, vec![], Unavailable, true, None),
        (Code::DataLoss, vec![], Unavailable, true, None),
        (Code::ResourceExhausted, vec![], Other, false, None),
        (
            Code::ResourceExhausted,
            retry_info(0, 0),
            Throttled,
            false,
            None,
        ),
        (
            Code::ResourceExhausted,
            retry_info(1, 500_000_000),
            Throttled,
            false,
            Some(1500),
        ),
        (
            Code::ResourceExhausted,
            retry_info(-1, -1),
            Throttled,
            false,
            None,
        ),
        (Code::Unauthenticated, vec![], Credentials, false, None),
        (Code::PermissionDenied, vec![], Denied, false, None),
        (Code::Unimplemented, vec![], Missing, false, None),
        (Code::NotFound, vec![], Missing, false, None),
        (Code::Internal, vec![], Other, true, None),
        (Code::Unknown, vec![], Other, true, None),
        (Code::FailedPrecondition, vec![], Other, true, None),
    ] {
        let Outcome::Refused(refusal) = of_grpc(code, "", details) else {
            panic!("{code:?}");
        };
        assert_eq!(
            (refusal.kind, refusal.is_in_doubt),
            (kind, is_in_doubt),
            "{code:?}"
        );
        assert_eq!(refusal.retry_after_ms, retry, "{code:?}");
    }
    assert!(matches!(
        of_grpc(Code::InvalidArgument, "", vec![]),
        Outcome::Invalid(_)
    ));
    for (code, said) in [
        (
            Code::ResourceExhausted,
            "grpc: received message larger than max (5000000 vs. 4194304)",
        ),
        (
            Code::OutOfRange,
            "Error, decoded message length too large: found 5 bytes, the limit is: 4 bytes",
        ),
        (
            Code::ResourceExhausted,
            "CLIENT: Received message larger than max (5 vs. 4)",
        ),
    ] {
        assert!(
            matches!(of_grpc(code, said, vec![]), Outcome::TooLarge(_)),
            "{said}"
        );
    }
}

fn of_status(status: u16, is_protobuf: bool, body: Vec<u8>) -> Outcome {
    let reply = Reply::Http(Answer {
        status,
        is_protobuf,
        body,
        retry_after_ms: None,
    });
    of(reply, 2)
}

#[test]
fn a_call_over_http_is_refused_by_its_status() {
    use RefusalKind::{Credentials, Denied, Missing, Other, Throttled, Unavailable};
    for (status, kind, is_in_doubt) in [
        (202, Other, true),
        (302, Other, false),
        (400, Other, false),
        (401, Credentials, false),
        (403, Denied, false),
        (404, Missing, false),
        (408, Unavailable, true),
        (422, Other, false),
        (429, Throttled, false),
        (500, Other, true),
        (502, Unavailable, true),
        (503, Unavailable, true),
        (504, Unavailable, true),
    ] {
        let Outcome::Refused(refusal) = of_status(status, false, Vec::new()) else {
            panic!("{status}");
        };
        assert_eq!(
            (refusal.kind, refusal.is_in_doubt),
            (kind, is_in_doubt),
            "{status}"
        );
    }
    let Outcome::Refused(refusal) = of_status(429, true, retry_info(2, 0)) else {
        panic!("throttled");
    };
    assert_eq!(refusal.retry_after_ms, Some(2000));
    assert_eq!(refusal.source.to_string(), "HTTP status 429: later");
    assert!(matches!(
        of_status(400, true, retry_info(0, 0)),
        Outcome::Invalid(_)
    ));
    assert!(matches!(
        of_status(413, false, Vec::new()),
        Outcome::TooLarge(_)
    ));
}

proptest! {
    #[test]
    fn any_answer_is_read(
        status in any::<u16>(),
        is_protobuf in any::<bool>(),
        code in 0..20_i32,
        body in prop::collection::vec(any::<u8>(), 0..100),
        details in prop::collection::vec(any::<u8>(), 0..100),
    ) {
        drop(of_status(status, is_protobuf, body.clone()));
        let reply = Reply::Grpc { code: Code::from_i32(code), message: String::new(), details, body };
        drop(of(reply, 2));
    }
}
