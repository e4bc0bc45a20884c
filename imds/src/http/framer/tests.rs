//! What the framer says of texts cut anywhere, with holes and with nonsense.

use super::*;

/// Writes down what the framer says; the framing comes from the head's own words.
#[derive(Default)]
struct Log(Vec<String>);

impl Sink for Log {
    fn head(&mut self, bytes: &[u8], cut: Cut) -> Framing {
        let text = String::from_utf8_lossy(bytes).into_owned();
        let first = text.lines().next().unwrap_or_default().to_owned();
        self.0.push(format!("{first} {cut:?} {}", bytes.len()));
        if text.contains("chunked") {
            Framing::Chunked
        } else if let Some((_, length)) = text.split_once("Length: ") {
            Framing::Length(length.lines().next().unwrap().parse().unwrap())
        } else {
            Framing::Length(0)
        }
    }
    fn body(&mut self, bytes: &[u8]) {
        self.0
            .push(format!("body {}", String::from_utf8_lossy(bytes)));
    }
    fn body_hole(&mut self) {
        self.0.push("hole".into());
    }
    fn end(&mut self) {
        self.0.push("end".into());
    }
    fn not_http(&mut self, kind: NotHttp) {
        self.0.push(format!("{kind:?}"));
    }
}

/// `_` in the text is a hole of one byte.
fn run(pieces: &[&str]) -> Vec<String> {
    run_in(Framer::requests(), pieces)
}

fn run_in(mut framer: Framer, pieces: &[&str]) -> Vec<String> {
    let mut log = Log::default();
    for piece in pieces {
        if *piece == "_" {
            framer.hole(1, &mut log);
        } else {
            framer.bytes(piece.as_bytes(), true, &mut log);
        }
    }
    framer.close(&mut log);
    log.0
}

#[test]
fn split_anywhere() {
    let text =
        "GET /a HTTP/1.1\r\nA: b\r\n\r\nPUT /b HTTP/1.1\r\nLength: 3\r\n\r\nxyzGET /c HTTP/1.1\n\n";
    let join = |log: Vec<String>| log.join("|").replace("|body ", "");
    let whole = run(&[text]);
    assert_eq!(
        whole,
        [
            "GET /a HTTP/1.1 Whole 25",
            "end",
            "PUT /b HTTP/1.1 Whole 30",
            "body xyz",
            "end",
            "GET /c HTTP/1.1 Whole 17",
            "end"
        ]
    );
    for at in 1..text.len() {
        let (a, b) = text.split_at(at);
        assert_eq!(join(run(&[a, b])), join(whole.clone()), "split at {at}");
    }
    let single: Vec<_> = text.split("").filter(|s| !s.is_empty()).collect();
    assert_eq!(join(run(&single)), join(run(&[text])));
}

#[test]
fn chunks() {
    let log = run(&[
        "GET / HTTP/1.1\r\nTE: chunked\r\n\r\n3;x=y\r\nabc\r\n0\r\nT: 1\r\n\r\nGET /n HTTP/1.1\r\n\r\n",
    ]);
    assert_eq!(
        log[1..],
        ["body abc", "end", "GET /n HTTP/1.1 Whole 19", "end"]
    );
    let log = run(&[
        "GET / HTTP/1.1\r\nTE: chunked\r\n\r\nzz\r\n",
        "GET /n HTTP/1.1\r\n\r\n",
    ]);
    assert_eq!(log[1..], ["hole", "end", "GET /n HTTP/1.1 Whole 19", "end"]);
}

#[test]
fn holes() {
    let log = run(&[
        "GET /a HTTP/1.1\r\nHo",
        "_",
        "st: x\r\n\r\n",
        "GET /b HTTP/1.1\r\n\r\n",
    ]);
    assert_eq!(
        log,
        [
            "GET /a HTTP/1.1 Missing 19",
            "end",
            "GET /b HTTP/1.1 Whole 19",
            "end"
        ]
    );
    let log = run(&[
        "GET /a HTTP/1.1\r\nLength: 3\r\n\r\n",
        "_",
        "xyGET /b HTTP/1.1\r\n\r\n",
    ]);
    assert_eq!(
        log[1..],
        ["hole", "body xy", "end", "GET /b HTTP/1.1 Whole 19", "end"]
    );
}

#[test]
fn head_limit() {
    for (extra, cut) in [(-1_isize, "Whole"), (0, "Whole"), (1, "TooLong")] {
        let length = HEAD_BYTES.checked_add_signed(extra).unwrap();
        let mut text = String::from("GET /a HTTP/1.1\r\nA: ");
        text.push_str(&"x".repeat(length - text.len() - 4));
        text.push_str("\r\n\r\n");
        assert_eq!(text.len(), length);
        let seen = HEAD_BYTES.min(length);
        for split in [0, 1, 5000, length - 1] {
            let (a, b) = text.split_at(split);
            let log = run(&[a, b, "GET /b HTTP/1.1\r\n\r\n"]);
            let first = format!("GET /a HTTP/1.1 {cut} {seen}");
            assert_eq!(
                log,
                [first.as_str(), "end", "GET /b HTTP/1.1 Whole 19", "end"],
                "{extra} {split}"
            );
        }
    }
}

#[test]
fn other_protocols() {
    for (pieces, expected) in [
        (vec!["\x16\x03\x01"], vec!["Tls"]),
        (vec!["\x16", "\x03"], vec!["Tls"]),
        (vec!["\r\n", "\n\x16", "\x03"], vec!["Tls"]),
        (vec!["\x16\x02"], vec!["\x16\x02 Missing 2", "end"]),
        (
            vec!["\x16\x02", "\x03"],
            vec!["\x16\x02\x03 Missing 3", "end"],
        ),
        (vec!["\0\0"], vec!["\0\0 Missing 2", "end"]),
        (vec!["\r\n\u{80}"], vec!["\u{80} Missing 2", "end"]),
        (
            vec!["\0\n\n\x01\n", "\n"],
            vec!["\0 Whole 3", "end", "\x01 Whole 3", "end"],
        ),
    ] {
        assert_eq!(run(&pieces), expected);
    }
}

/// An answer is known by its first byte, so nobody waits for the rest of what is none.
#[test]
fn what_is_no_answer() {
    for (pieces, expected) in [
        (vec!["\x16\x03\x01"], vec!["Tls"]),
        (vec!["\x16", "\x02"], vec!["Binary"]),
        (
            vec!["\0\0\n\n", "HTTP/1.1 200 OK\r\n\r\n"],
            vec!["Binary", "HTTP/1.1 200 OK Whole 19", "end"],
        ),
    ] {
        assert_eq!(run_in(Framer::answers(), &pieces), expected);
    }
}

/// Where the place was lost, it is found at the next segment that begins like a request.
#[test]
fn found_again() {
    for start in [
        "GET ",
        "PUT ",
        "HEAD ",
        "POST ",
        "DELETE ",
        "OPTIONS ",
        "PATCH ",
        "TRACE ",
        "CONNECT ",
        "GET\t",
        "\r\nGET ",
        "\nGET ",
        " \tGET ",
        " \r\n GET ",
    ] {
        let text = format!("{start}/ HTTP/1.1\n\n");
        let log = run(&["_", "x\r\n\r\n", "\r\n", " ", &text]);
        assert_eq!(log.len(), 2, "{start:?} {log:?}");
        let (a, b) = text.split_at(start.len() - 1);
        assert_eq!(run(&["_", a, b]), log, "{start:?}");
    }
    for start in ["GETS ", "get ", "HTTP/1.1 ", "\x01GET "] {
        let text = format!("{start}/ HTTP/1.1\n\n");
        assert_eq!(run(&["_", &text]), [""; 0], "{start:?}");
    }
}
