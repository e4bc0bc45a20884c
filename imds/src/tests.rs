//! From segments to events: the wire cases, what silence means, and the laws.

mod answers;
mod bounds;
mod holes;
mod late;
mod laws;
mod losses;
mod missed;
mod odd;
mod play;
mod requests;
mod secrets;
mod silence;
mod unseen;

use play::Play;

const MS: u64 = 1_000_000;
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// A good answer with that body.
fn ok(body: &str) -> String {
    format!(
        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

fn status(code: u16) -> String {
    format!("HTTP/1.1 {code} x\r\nContent-Length: 0\r\n\r\n")
}

const TOKEN: &str = "AQAEAGhVd0xrZ2JqS3B5bVZ0dGZ2Q1pXbk1LUW9hYnN3amR3w5w==";

const PUT: &str =
    "PUT /latest/api/token HTTP/1.1\r\nX-aws-ec2-metadata-token-ttl-seconds: 60\r\n\r\n";
