//! A small HTTP/1.1 client: one request, one connection, as an SDK with a one-second timeout does.
//!
//! Plain on purpose: what goes over the wire is exactly what is written here.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result};

/// Largest answer read, bytes.
const BODY_AT_MOST: u64 = 64 * 1024;
/// Read timeout: the AWS SDKs' default for the metadata service.
const TIMEOUT: Duration = Duration::from_secs(1);
/// Longest wait for a connection: an emulated machine stands still for a second at times, and a handshake of which
/// a packet is lost goes on after one, and after three.
const CONNECTED_WITHIN: Duration = Duration::from_secs(10);

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Status code.
    pub status: u16,
    /// Body as text.
    pub body: String,
}

/// Sends one request and reads the answer until the server closes.
///
/// # Errors
/// No connection within ten seconds, no answer within one, or no HTTP.
pub fn request(
    to: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
) -> Result<Answer> {
    let mut stream = TcpStream::connect_timeout(&to, CONNECTED_WITHIN)
        .with_context(|| format!("connecting to {to}"))?;
    stream
        .set_read_timeout(Some(TIMEOUT))
        .context("setting the read timeout")?;
    stream
        .set_write_timeout(Some(TIMEOUT))
        .context("setting the write timeout")?;
    let host = match to {
        SocketAddr::V4(v4) => v4.ip().to_string(),
        SocketAddr::V6(v6) => format!("[{}]", v6.ip()),
    };
    let mut head = format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n");
    for (name, value) in headers {
        head.extend([*name, ": ", *value, "\r\n"]);
    }
    if method == "PUT" {
        head += "Content-Length: 0\r\n";
    }
    head += "\r\n";
    stream
        .write_all(head.as_bytes())
        .context("sending the request")?;
    let mut bytes = Vec::new();
    stream
        .take(BODY_AT_MOST)
        .read_to_end(&mut bytes)
        .context("reading the answer")?;
    parse(&String::from_utf8_lossy(&bytes)).context("the answer is not HTTP")
}

fn parse(text: &str) -> Option<Answer> {
    let (head, body) = text.split_once("\r\n\r\n")?;
    let status = head
        .strip_prefix("HTTP/1.1 ")?
        .split(' ')
        .next()?
        .parse()
        .ok()?;
    Some(Answer {
        status,
        body: body.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_parsed_and_rubbish_is_not() {
        let answer = parse("HTTP/1.1 404 Not Found\r\nServer: EC2ws\r\n\r\nno");
        assert_eq!(
            answer,
            Some(Answer {
                status: 404,
                body: "no".to_owned()
            })
        );
        assert_eq!(parse("HTTP/1.1 200 OK\r\n"), None);
        assert_eq!(parse("SSH-2.0\r\n\r\n"), None);
    }
}
