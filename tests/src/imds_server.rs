#![expect(
    clippy::disallowed_methods,
    reason = "shell: a small HTTP server over std sockets"
)]
//! The metadata service and Pod Identity of the stage: listeners, connections, the truth log.
//!
//! What is answered is decided in [`answer`]; what was asked and answered is written, line by
//! line, to the truth log that tests compare with what the agent saw. It binds only where the
//! caller says: a namespace of the stage, or loopback in tests.

pub mod answer;
mod head;
pub mod truth;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use self::answer::{Answer, Endpoint, Metadata};
use self::truth::{Truth, TruthLog};

/// Connections served at once; more are closed at once, as the real service does.
const CONNECTIONS_AT_MOST: usize = 128;
/// Head of one request, bytes; longer is answered 431.
const HEAD_AT_MOST: usize = 16 * 1024;
/// Requests on one connection.
const REQUESTS_AT_MOST: usize = 10_000;
/// Header with which a load of the stage makes the service slow, milliseconds.
pub const DELAY_MS: &str = "x-stage-delay-ms";
/// Silence after which a connection is closed.
const IDLE: Duration = Duration::from_secs(5);
/// Time-to-live of everything but token answers.
const TTL: u8 = 64;

#[derive(Debug)]
struct Shared {
    metadata: Mutex<Metadata>,
    truth: Arc<TruthLog>,
    begin: Instant,
    open: AtomicUsize,
    stop: AtomicBool,
}

/// A running server; stops when dropped.
#[derive(Debug)]
pub struct ImdsServer {
    shared: Arc<Shared>,
    listeners: Vec<(TcpListener, Option<JoinHandle<()>>)>,
}

impl ImdsServer {
    /// Serves `metadata` on listeners that the caller opened.
    ///
    /// # Errors
    /// A listener cannot be duplicated.
    pub fn start(
        metadata: Metadata,
        truth: Arc<TruthLog>,
        listeners: Vec<(Endpoint, TcpListener)>,
    ) -> Result<Self> {
        let shared = Arc::new(Shared {
            metadata: Mutex::new(metadata),
            truth,
            begin: Instant::now(),
            open: AtomicUsize::new(0),
            stop: AtomicBool::new(false),
        });
        let mut running = Vec::new();
        for (endpoint, listener) in listeners {
            let accepting = listener.try_clone().context("duplicating a listener")?;
            let shared = Arc::clone(&shared);
            let handle = std::thread::spawn(move || accept(&shared, endpoint, &accepting));
            running.push((listener, Some(handle)));
        }
        Ok(Self {
            shared,
            listeners: running,
        })
    }

    /// What was asked so far.
    pub fn truth(&self) -> &Arc<TruthLog> {
        &self.shared.truth
    }
}

impl Drop for ImdsServer {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        for (listener, handle) in &mut self.listeners {
            // Shutting a listening socket down wakes its accept (Linux).
            if rustix::net::shutdown(&*listener, rustix::net::Shutdown::Both).is_err() {
                continue;
            }
            if let Some(handle) = handle.take() {
                drop(handle.join());
            }
        }
    }
}

fn accept(shared: &Arc<Shared>, endpoint: Endpoint, listener: &TcpListener) {
    loop {
        let accepted = listener.accept();
        if shared.stop.load(Ordering::SeqCst) {
            return;
        }
        let Ok((stream, client)) = accepted else {
            // Out of descriptors, or a client that left already: not faster than this.
            std::thread::sleep(Duration::from_millis(5));
            continue;
        };
        if shared.open.fetch_add(1, Ordering::SeqCst) >= CONNECTIONS_AT_MOST {
            shared.open.fetch_sub(1, Ordering::SeqCst);
            continue;
        }
        let shared = Arc::clone(shared);
        std::thread::spawn(move || {
            // A client that goes away is not the server's error.
            drop(serve(&shared, endpoint, stream, client));
            shared.open.fetch_sub(1, Ordering::SeqCst);
        });
    }
}

fn serve(
    shared: &Shared,
    endpoint: Endpoint,
    mut stream: TcpStream,
    client: SocketAddr,
) -> Result<()> {
    stream
        .set_read_timeout(Some(IDLE))
        .context("read timeout")?;
    stream
        .set_write_timeout(Some(IDLE))
        .context("write timeout")?;
    stream.set_nodelay(true).context("no delay")?;
    let mut buffer = Vec::new();
    for _ in 0..REQUESTS_AT_MOST {
        let Some(end) = read_head(&mut stream, &mut buffer)? else {
            return Ok(());
        };
        let request = head::parse(buffer.get(..end).unwrap_or_default());
        buffer.drain(..end);
        let close = request.as_ref().is_none_or(head::Request::wants_close);
        let answer = match &request {
            Some(request) => {
                let now = shared.begin.elapsed();
                let mut metadata = shared
                    .metadata
                    .lock()
                    .map_err(|_| anyhow::anyhow!("poisoned"))?;
                metadata.answer(endpoint, request, now)
            }
            None => Answer::error(400),
        };
        // Before the answer: who has its answer may rely on the log.
        shared.truth.push(Truth::new(
            endpoint,
            client,
            request.as_ref(),
            answer.status,
        ))?;
        if let Some(request) = &request {
            std::thread::sleep(delay(request));
        }
        let limit = answer.hop_limit.unwrap_or(TTL);
        if client.is_ipv4() {
            rustix::net::sockopt::set_ip_ttl(&stream, u32::from(limit)).context("IP_TTL")?;
        } else {
            rustix::net::sockopt::set_ipv6_unicast_hops(&stream, Some(limit))
                .context("IPV6_UNICAST_HOPS")?;
        }
        stream
            .write_all(&answer.to_bytes(close))
            .context("answering")?;
        if close {
            return Ok(());
        }
    }
    Ok(())
}

/// How long a request asks the stage's service to take.
fn delay(request: &head::Request) -> Duration {
    let wanted = request
        .header(DELAY_MS)
        .and_then(|text| text.parse().ok())
        .map_or(Duration::ZERO, Duration::from_millis);
    wanted.min(IDLE)
}

/// Reads until the buffer holds a whole head; `None` when the client has left.
fn read_head(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Result<Option<usize>> {
    let mut chunk = [0_u8; 4096];
    loop {
        if let Some(end) = buffer.windows(4).position(|w| w == b"\r\n\r\n") {
            return Ok(Some(end.saturating_add(4)));
        }
        if buffer.len() > HEAD_AT_MOST {
            stream
                .write_all(&Answer::error(431).to_bytes(true))
                .context("answering")?;
            return Ok(None);
        }
        let n = stream.read(&mut chunk).context("reading a request")?;
        if n == 0 {
            return Ok(None);
        }
        buffer.extend_from_slice(chunk.get(..n).unwrap_or_default());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workloads::http::request;

    fn running() -> (ImdsServer, SocketAddr, SocketAddr) {
        let imds = TcpListener::bind("127.0.0.1:0").unwrap();
        let identity = TcpListener::bind("127.0.0.1:0").unwrap();
        let (a, b) = (imds.local_addr().unwrap(), identity.local_addr().unwrap());
        let server = ImdsServer::start(
            Metadata::sample(1),
            Arc::new(TruthLog::default()),
            vec![(Endpoint::Imds, imds), (Endpoint::PodIdentity, identity)],
        )
        .unwrap();
        (server, a, b)
    }

    #[test]
    fn a_session_over_loopback_is_served_and_logged() {
        let (server, imds, identity) = running();
        let ttl = [("X-aws-ec2-metadata-token-ttl-seconds", "60")];
        let token = request(imds, "PUT", "/latest/api/token", &ttl).unwrap();
        assert_eq!(token.status, 200);
        let with = [("X-aws-ec2-metadata-token", token.body.as_str())];
        let list = request(
            imds,
            "GET",
            "/latest/meta-data/iam/security-credentials/",
            &with,
        )
        .unwrap();
        assert_eq!(
            (list.status, list.body.as_str()),
            (200, "plimsoll-node-role")
        );
        let refused = request(identity, "GET", "/v1/credentials", &[]).unwrap();
        assert_eq!(refused.status, 400);
        let log = server.truth().all();
        let seen: Vec<_> = log
            .iter()
            .map(|t| (t.imds_version.as_str(), t.status))
            .collect();
        assert_eq!(seen, [("v2", 200), ("v2", 200), ("none", 400)]);
        drop(server);
        assert!(TcpStream::connect(imds).is_err());
    }

    #[test]
    fn pipelined_requests_get_an_answer_each() {
        let (server, imds, _) = running();
        let mut stream = TcpStream::connect(imds).unwrap();
        let one = "GET /latest/meta-data/instance-id HTTP/1.1\r\nHost: 169.254.169.254\r\n";
        let text = format!("{one}\r\n{one}Connection: close\r\n\r\n");
        stream.write_all(text.as_bytes()).unwrap();
        let mut answers = String::new();
        stream.read_to_string(&mut answers).unwrap();
        assert_eq!(answers.matches("HTTP/1.1 200 OK").count(), 2, "{answers}");
        assert_eq!(server.truth().all().len(), 2);
    }

    #[test]
    fn bytes_that_are_no_http_are_answered_400_and_logged() {
        let (server, imds, _) = running();
        let mut stream = TcpStream::connect(imds).unwrap();
        stream.write_all(b"\x16\x03\x01\r\n\r\n").unwrap();
        let mut answers = String::new();
        stream.read_to_string(&mut answers).unwrap();
        assert!(answers.starts_with("HTTP/1.1 400 "), "{answers}");
        assert_eq!(server.truth().all().len(), 1);
    }
}
