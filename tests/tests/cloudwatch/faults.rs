//! Each misbehaviour as a client meets it, and what is stored then.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};

use plimsoll_tests::cloudwatch::{CloudWatch, Fault, Operation, Outcome, Times};
use serde_json::{Value, json};

use super::{Client, GROUP, NOW, at, batch, event, messages, put, service};

/// What a client sees of one batch under a fault, and how many events are stored by it.
fn under(fault: Fault) -> (CloudWatch, Client, Result<super::Answer, String>, usize) {
    let (logs, client) = service();
    logs.fail(Operation::PutLogEvents, fault, Times::Next(1));
    let answer = client.try_call("PutLogEvents", &at(&[NOW]));
    let stored = messages(&logs).len();
    assert_eq!(logs.requests()[0].stored, stored);
    (logs, client, answer.map_err(|e| e.to_string()), stored)
}

#[test]
fn errors_are_sent_as_aws_sends_them_and_store_nothing() {
    for (fault, status, kind) in [
        (Fault::throttling(), 400, "ThrottlingException"),
        (
            Fault::service_unavailable(),
            503,
            "ServiceUnavailableException",
        ),
        (Fault::internal_failure(), 500, "InternalFailure"),
        (Fault::access_denied(), 400, "AccessDeniedException"),
        (Fault::expired_token(), 400, "ExpiredTokenException"),
        (
            Fault::unrecognized_client(),
            400,
            "UnrecognizedClientException",
        ),
        (Fault::invalid_signature(), 400, "InvalidSignatureException"),
        (Fault::invalid_parameter(), 400, "InvalidParameterException"),
        (Fault::kms_key_invalid(), 400, "InvalidParameterException"),
        (Fault::kms_disabled(), 400, "KMSDisabledException"),
        (Fault::operation_aborted(), 400, "OperationAbortedException"),
        (Fault::limit_exceeded(), 400, "LimitExceededException"),
    ] {
        let (logs, client, answer, stored) = under(fault);
        let answer = answer.unwrap();
        assert_eq!(
            (answer.status, answer.error().as_str(), stored),
            (status, kind, 0)
        );
        assert_eq!(answer.header("x-amzn-errortype"), Some(kind));
        assert!(!answer.message().is_empty());
        // Once was said, once it was.
        assert_eq!(put(&client, &at(&[NOW])).error(), "");
        let requests = logs.finish().unwrap();
        let outcome = Outcome::Answered {
            status,
            error: Some(kind.to_owned()),
        };
        assert_eq!(requests[0].outcome, outcome);
    }
}

#[test]
fn a_connection_is_cut_before_or_after_storing() {
    for (fault, expected) in [(Fault::CutBefore, 0), (Fault::CutAfter, 1)] {
        let (logs, client, answer, stored) = under(fault);
        assert!(answer.is_err(), "{answer:?}");
        assert_eq!(stored, expected);
        assert_eq!(logs.requests()[0].outcome, Outcome::Cut);
        // The client cannot know which it was; the second try is stored in any case.
        assert_eq!(put(&client, &at(&[NOW])).error(), "");
        assert_eq!(messages(&logs).len(), expected + 1);
    }
}

#[test]
fn a_success_with_an_unusable_body_was_stored() {
    for fault in [Fault::unusable_body(), Fault::no_body()] {
        let (logs, _, answer, stored) = under(fault);
        let answer = answer.unwrap();
        assert_eq!(
            (answer.status, answer.json(), stored),
            (200, Value::Null, 1)
        );
        assert_eq!(logs.requests()[0].outcome, Outcome::Canned(200));
    }
}

#[test]
fn a_success_that_is_a_page_was_not_stored() {
    let (_, _, answer, stored) = under(Fault::html());
    let answer = answer.unwrap();
    assert_eq!((answer.status, stored), (200, 0));
    assert!(
        answer
            .header("content-type")
            .unwrap()
            .starts_with("text/html")
    );
    assert!(answer.text.starts_with("<!DOCTYPE html>"));
}

#[test]
fn what_stands_before_the_service_fails_without_it() {
    for (fault, status) in [
        (Fault::too_many_requests(), 429),
        (Fault::bad_gateway(), 502),
    ] {
        let (logs, _, answer, stored) = under(fault);
        let answer = answer.unwrap();
        assert_eq!(
            (answer.status, answer.json(), stored),
            (status, Value::Null, 0)
        );
        assert_eq!(logs.requests()[0].outcome, Outcome::Canned(status));
    }
}

/// A batch sent by a thread of its own, while the test looks.
fn meanwhile(fault: Fault, look: impl FnOnce(&CloudWatch)) -> usize {
    let (logs, client) = service();
    logs.fail(Operation::PutLogEvents, fault, Times::Next(1));
    std::thread::scope(|scope| {
        let sent = scope.spawn(|| put(&client, &at(&[NOW])));
        logs.wait_for("the batch", |asked| asked.len() == 1)
            .unwrap();
        look(&logs);
        assert!(!sent.is_finished());
        logs.release();
        assert_eq!(sent.join().unwrap().error(), "");
    });
    messages(&logs).len()
}

#[test]
fn an_answer_is_held_until_the_test_lets_go() {
    let stored = meanwhile(Fault::HeldBefore, |logs| {
        assert_eq!(messages(logs), Vec::<String>::new());
        assert_eq!(logs.requests()[0].outcome, Outcome::Open);
    });
    assert_eq!(stored, 1);
    let stored = meanwhile(Fault::HeldAfter, |logs| {
        logs.wait_for("it to be stored", |asked| asked[0].stored == 1)
            .unwrap();
    });
    assert_eq!(stored, 1);
}

/// A connection on which so much of a batch was sent.
fn sent(logs: &CloudWatch, client: &Client, part: impl Fn(&str) -> &str) -> TcpStream {
    let mut head = format!("POST / HTTP/1.1\r\nhost: {}\r\n", logs.address());
    for (name, value) in client.headers("PutLogEvents") {
        head = format!("{head}{name}: {value}\r\n");
    }
    let body = at(&[NOW]).to_string();
    let text = format!("{head}content-length: {}\r\n\r\n{body}", body.len());
    let mut stream = TcpStream::connect(logs.address()).unwrap();
    stream.write_all(part(&text).as_bytes()).unwrap();
    stream
}

#[test]
fn a_client_that_gives_up_does_not_undo_what_it_sent() {
    let (logs, client) = service();
    logs.fail(Operation::PutLogEvents, Fault::HeldBefore, Times::Next(1));
    let stream = sent(&logs, &client, |whole| whole);
    logs.wait_for("the batch", |asked| asked.len() == 1)
        .unwrap();
    drop(stream);
    logs.release();
    logs.wait_for("it to be stored", |asked| asked[0].stored == 1)
        .unwrap();
    assert_eq!(messages(&logs), ["m"]);
}

#[test]
fn a_request_that_is_not_whole_is_none() {
    let (logs, client) = service();
    let mut stream = sent(&logs, &client, |whole| whole.strip_suffix('}').unwrap());
    stream.shutdown(Shutdown::Write).unwrap();
    // It is over for the service too.
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap_or_default();
    assert_eq!((answer.as_str(), logs.requests().len()), ("", 0));
}

#[test]
fn a_poison_message_refuses_every_batch_that_holds_it() {
    let (logs, client) = service();
    logs.poison("POISON");
    let of = |messages: &[&str]| batch(messages.iter().map(|m| event(NOW, m)));
    for bad in [&["a", "x POISON y"][..], &["POISON"], &["POISON", "b"]] {
        assert_eq!(put(&client, &of(bad)).error(), "InvalidParameterException");
    }
    assert_eq!(put(&client, &of(&["a", "b"])).error(), "");
    assert_eq!(messages(&logs), ["a", "b"]);
    logs.heal();
    assert_eq!(put(&client, &of(&["POISON"])).error(), "");
}

#[test]
fn faults_are_of_an_operation_and_of_a_number_of_calls() {
    let (logs, client) = service();
    let after = Times::After { skip: 1, times: 2 };
    logs.fail(Operation::PutLogEvents, Fault::throttling(), after);
    logs.fail(
        Operation::CreateLogStream,
        Fault::operation_aborted(),
        Times::Always,
    );
    let create = |name: &str| {
        let body = json!({"logGroupName": GROUP, "logStreamName": name});
        client.call("CreateLogStream", &body).error()
    };
    let aborted = "OperationAbortedException";
    assert_eq!([create("a"), create("b")], [aborted, aborted]);
    let errors = [(); 4].map(|()| put(&client, &at(&[NOW])).error());
    let throttled = "ThrottlingException";
    assert_eq!(errors, ["", throttled, throttled, ""]);
    logs.heal();
    assert_eq!(create("a"), "");
    logs.fail_any(Fault::internal_failure(), Times::Next(1));
    assert_eq!([create("c"), create("c")], ["InternalFailure", ""]);
    logs.finish().unwrap();
}

#[test]
fn a_fault_that_did_not_happen_fails_the_end() {
    let (logs, client) = service();
    logs.fail(Operation::PutLogEvents, Fault::throttling(), Times::Next(2));
    put(&client, &at(&[NOW]));
    let told = logs.finish().unwrap_err().to_string();
    assert!(told.contains("ThrottlingException"), "{told}");
}

#[test]
fn an_outage_closes_connections_and_ends() {
    let (logs, client) = service();
    put(&client, &at(&[NOW]));
    logs.set_down(true);
    assert!(client.try_call("PutLogEvents", &at(&[NOW])).is_err());
    logs.set_down(false);
    assert_eq!(put(&client, &at(&[NOW])).error(), "");
    assert_eq!(messages(&logs), ["m", "m"]);
}

#[test]
fn many_clients_of_one_stream_are_all_stored() {
    let (logs, _) = service();
    std::thread::scope(|scope| {
        for writer in 0..8 {
            let endpoint = logs.endpoint();
            scope.spawn(move || {
                let client = Client::new(&endpoint);
                for n in 0..25 {
                    let message = format!("{writer}/{n}");
                    let body = batch([event(NOW, &message)]);
                    assert_eq!(put(&client, &body).error(), "");
                }
            });
        }
    });
    let all: std::collections::BTreeSet<_> = messages(&logs).into_iter().collect();
    assert_eq!(all.len(), 200);
    let requests = logs.finish().unwrap();
    assert_eq!(requests.iter().map(|r| r.stored).sum::<usize>(), 200);
}
