//! Addresses with TLS, and those that send there.

use super::*;

/// As behind a proxy that ends TLS.
#[test]
fn an_answer_over_tls_is_from_whom_the_file_or_the_system_trusts() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let own = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    std::fs::write(at("cert"), own.cert.pem()).unwrap();
    std::fs::write(at("key"), own.signing_key.serialize_pem()).unwrap();
    let acceptor = crate::tls::acceptor(&crate::tls::Files {
        door: crate::tls::Door::Ingest,
        certificate: at("cert"),
        key: at("key"),
        client_ca: None,
    })
    .unwrap();
    let (runtime, listener) = listening();
    let port = listener.local_addr().unwrap().port();
    runtime.spawn(async move {
        loop {
            let (peer, _) = listener.accept().await.unwrap();
            if let Ok(mut stream) = acceptor.accept(peer).await {
                let mut asked = [0; 1024];
                let _length = stream.read(&mut asked).await.unwrap();
                let answer = b"HTTP/1.1 418 I'm a teapot\r\ncontent-length: 3\r\n\r\ntea";
                stream.write_all(answer).await.unwrap();
                stream.shutdown().await.unwrap();
            }
        }
    });
    let server = format!("https://localhost:{port}");
    let ask = |with: &[&str]| call(&[&["audit", "accounting", "--server", &server], with].concat());
    let (cert, absent, key) = (at("cert"), at("absent"), at("key"));
    let (exit, _, err) = ask(&["--ca-file", cert.to_str().unwrap()]);
    assert_eq!(exit, Exit::Usage);
    assert!(err.contains("refused (418)"), "{err}");
    let (_, _, err) = ask(&[]);
    assert!(
        err.contains("no certificate to trust at https://localhost:")
            && err.contains("of the system; --ca-file")
            && err.contains("UnknownIssuer"),
        "{err}"
    );
    let other = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    std::fs::write(at("other"), other.cert.pem()).unwrap();
    let (_, _, err) = ask(&["--ca-file", at("other").to_str().unwrap()]);
    assert!(
        err.contains("other (--ca-file or PLIMSOLL_CA_FILE)") && !err.contains("is it running"),
        "{err}"
    );
    let plain = format!("http://localhost:{port}");
    let (_, _, err) = call(&["audit", "accounting", "--server", &plain]);
    assert!(err.contains("--server begins with https://"), "{err}");
    let (_, _, err) = ask(&["--ca-file", absent.to_str().unwrap()]);
    assert!(
        err.contains("absent (--ca-file or PLIMSOLL_CA_FILE)") && err.contains("No such file"),
        "{err}"
    );
    let (_, _, err) = ask(&["--ca-file", key.to_str().unwrap()]);
    assert!(err.contains("key (--ca-file or PLIMSOLL_CA_FILE)"), "{err}");
}

/// As of a proxy that wants TLS.
#[test]
fn an_address_that_redirects_is_refused_and_not_followed() {
    use std::io::{Read as _, Write as _};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let server = format!("http://{}", listener.local_addr().unwrap());
    let answers = std::thread::spawn(move || {
        let (mut peer, _) = listener.accept().unwrap();
        let _length = peer.read(&mut [0; 1024]).unwrap();
        let answer = b"HTTP/1.1 308 Permanent Redirect\r\nlocation: https://127.0.0.1:1/\r\n\
            content-length: 0\r\n\r\n";
        peer.write_all(answer).unwrap();
    });
    let (exit, _, err) = call(&["audit", "accounting", "--server", &server]);
    assert_eq!(exit, Exit::Usage);
    assert!(err.contains("refused (308)"), "{err}");
    answers.join().unwrap();
}

#[test]
fn a_token_file_holds_one_token() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("token");
    let path = path.to_str().unwrap();
    let of_file = format!("the token file {path} (--token-file or PLIMSOLL_TOKEN_FILE) ");
    for (text, what) in [
        ("", "is empty"),
        (" \n", "is empty"),
        ("one\ntwo\n", "must hold a token and nothing else"),
    ] {
        std::fs::write(path, text).unwrap();
        let server = ["--server", "https://127.0.0.1:1", "--token-file", path];
        let (exit, _, err) = call(&[&["audit", "accounting"], &server[..]].concat());
        assert_eq!(exit, Exit::Usage);
        assert!(err.contains(&format!("{of_file}{what}")), "{text:?}: {err}");
    }
}
