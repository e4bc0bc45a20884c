#![expect(
    clippy::disallowed_methods,
    reason = "shell: carries bytes between a client and an address on loopback"
)]
//! Port-forwards over a WebSocket, as kube and kubectl speak them (`v4.channel.k8s.io`): every port has a
//! channel of data and one of errors, and the first message of each is the port's number, little-endian.

use std::io;
use std::net::SocketAddr;

use axum::body::Body;
use axum::http::{HeaderMap, Response, StatusCode, header};
use futures_util::{SinkExt as _, StreamExt as _};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Message, Role};

const PROTOCOL: &str = "v4.channel.k8s.io";

/// Namespace and pod of a path that forwards ports.
pub(super) fn pod_of(path: &str) -> Option<(String, String)> {
    let path = path.strip_prefix("/api/v1/namespaces/")?;
    let path = path.strip_suffix("/portforward")?;
    let (namespace, pod) = path.split_once("/pods/")?;
    Some((namespace.to_owned(), pod.to_owned()))
}

/// Takes the connection over, if it asks for that in the right words.
pub(super) fn forward(
    request: axum::http::Request<Incoming>,
    port: u16,
    to: SocketAddr,
) -> Response<Body> {
    let mut answer = Response::new(Body::empty());
    let Some(key) = key(request.headers()) else {
        *answer.status_mut() = StatusCode::BAD_REQUEST;
        return answer;
    };
    *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let said = [
        (header::UPGRADE, "websocket".to_owned()),
        (header::CONNECTION, "Upgrade".to_owned()),
        (header::SEC_WEBSOCKET_ACCEPT, derive_accept_key(&key)),
        (header::SEC_WEBSOCKET_PROTOCOL, PROTOCOL.to_owned()),
    ];
    for (name, value) in said {
        if let Ok(value) = value.parse() {
            answer.headers_mut().insert(name, value);
        }
    }
    tokio::spawn(async move {
        let upgraded = hyper::upgrade::on(request)
            .await
            .map_err(io::Error::other)?;
        let socket = TokioIo::new(upgraded);
        let socket = WebSocketStream::from_raw_socket(socket, Role::Server, None).await;
        carry(socket, port, to).await
    });
    answer
}

/// The key of a request for a WebSocket of this protocol.
fn key(headers: &HeaderMap) -> Option<Vec<u8>> {
    let protocols = headers.get(header::SEC_WEBSOCKET_PROTOCOL)?.to_str().ok()?;
    let known = protocols.split(',').any(|of| of.trim() == PROTOCOL);
    let key = headers.get(header::SEC_WEBSOCKET_KEY)?;
    known.then(|| key.as_bytes().to_vec())
}

async fn carry<S>(socket: WebSocketStream<S>, port: u16, to: SocketAddr) -> io::Result<()>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    let (mut sink, mut stream) = socket.split();
    let [low, high] = port.to_le_bytes();
    for channel in [0, 1] {
        let first = Message::binary(vec![channel, low, high]);
        sink.send(first).await.map_err(io::Error::other)?;
    }
    let mut target = match TcpStream::connect(to).await {
        Ok(target) => target,
        Err(error) => {
            let said = format!("\u{1}{}", refused(port, &error));
            let told = sink.send(Message::binary(said.into_bytes())).await;
            told.map_err(io::Error::other)?;
            return sink.close().await.map_err(io::Error::other);
        }
    };
    let (mut read, mut write) = target.split();
    let mut buffer = vec![0; 16 << 10];
    loop {
        tokio::select! {
            message = stream.next() => match message {
                Some(Ok(Message::Binary(bytes))) => {
                    if let Some((0, data)) = bytes.split_first() {
                        write.write_all(data).await?;
                    }
                }
                Some(Ok(Message::Close(_)) | Err(_)) | None => return Ok(()),
                Some(Ok(_)) => {}
            },
            count = read.read(&mut buffer) => {
                let count = count?;
                if count == 0 {
                    return sink.close().await.map_err(io::Error::other);
                }
                let mut data = vec![0];
                data.extend_from_slice(buffer.get(..count).unwrap_or_default());
                sink.send(Message::binary(data)).await.map_err(io::Error::other)?;
            }
        }
    }
}

/// As a kubelet says it, with containerd's words in it.
fn refused(port: u16, error: &io::Error) -> String {
    let why = match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
        _ => error.to_string(),
    };
    format!(
        "error forwarding port {port} to pod 5bd4, uid : failed to execute portforward in network namespace \
         \"/var/run/netns/cni-1\": failed to connect to localhost:{port} inside namespace \"5bd4\", IPv4: dial \
         tcp4 127.0.0.1:{port}: connect: {why} IPv6 dial tcp6 [::1]:{port}: connect: {why}"
    )
}
