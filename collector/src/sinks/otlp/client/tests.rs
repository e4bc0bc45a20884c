use super::*;

fn of(text: &str) -> Result<HeaderMap, NoHeaders> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("headers");
    #[expect(clippy::disallowed_methods, reason = "a file of headers")]
    std::fs::write(&path, text).unwrap();
    read(&Secret::File(path))
}

#[test]
fn headers_are_written_as_in_the_variable_of_opentelemetry() {
    let headers = of("Authorization=Bearer%20a=b%2Cc, x-team = plimsoll,\n").unwrap();
    assert_eq!(headers["authorization"], "Bearer a=b,c");
    assert_eq!(headers["x-team"], "plimsoll");
    assert_eq!(headers.len(), 2);
    assert!(!format!("{headers:?}").contains("Bearer"));
    for wrong in [
        "",
        "a",
        "a b=c",
        "a=%",
        "a=%2",
        "a=%zz",
        "a=%0d%0ab=c",
        "a=b,A=c",
        "content-type=x",
        "grpc-timeout=1S",
        "te=x",
        "Host=x",
    ] {
        assert!(of(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn a_message_stands_behind_its_length() {
    assert_eq!(frame(b"abc", false), b"\0\0\0\0\x03abc");
    let packed = frame(b"abc", true);
    assert_eq!((packed[0], usize::from(packed[4])), (1, packed.len() - 5));
}
