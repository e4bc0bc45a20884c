//! Connections with client certificates, over TLS.

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::api::{Bounds, Requests, serve};
use crate::tls;

/// 2100-01-01.
const ENDS_UNIX_S: u64 = 4_102_444_800;

/// An authority with a certificate that it signed: that, and its key.
struct Authority {
    certificate: rcgen::Certificate,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let issuer = Issuer::new(params, key);
        Self {
            certificate,
            issuer,
        }
    }

    fn signs(&self, name: &str, group: &str) -> (rcgen::Certificate, KeyPair) {
        let mut params = CertificateParams::new(vec!["one".to_owned()]).unwrap();
        params.not_after = rcgen::date_time_ymd(2100, 1, 1);
        params.distinguished_name.push(DnType::CommonName, name);
        params
            .distinguished_name
            .push(DnType::OrganizationName, group);
        let key = KeyPair::generate().unwrap();
        (params.signed_by(&key, &self.issuer).unwrap(), key)
    }
}

type Stream = tokio_rustls::client::TlsStream<tokio::net::TcpStream>;

/// A door with TLS that takes certificates of `ours`.
struct Served {
    asked: Asked,
    ours: Authority,
    address: SocketAddr,
    requests: Arc<Requests>,
    serving: JoinSet<()>,
    stop: CancellationToken,
    _dir: tempfile::TempDir,
}

impl Served {
    async fn at(now_unix_s: fn() -> u64) -> Self {
        let asked = Asked::new().await;
        let dir = tempfile::tempdir().unwrap();
        let put = |name: &str, text: &str| {
            let path = dir.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let ours = Authority::new();
        let (own, key) = ours.signs("plimsoll", "");
        let shown = tls::Shown::read(tls::Files {
            door: tls::Door::Http,
            certificate: put("cert", &own.pem()),
            key: put("key", &key.serialize_pem()),
            client_ca: Some(put("ca", &ours.certificate.pem())),
        });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (asks, clock) = (asked.server.reviewer(), crate::cluster::reviews::clock());
        let requests = Arc::<Requests>::default();
        let rules = Rules::new(asks, clock, now_unix_s, Arc::clone(&requests));
        let state = state(&dir).with_rules(Arc::new(rules)).with_tls(true);
        let (mut serving, stop) = (JoinSet::new(), CancellationToken::new());
        serving.spawn(serve(
            listener,
            router(Arc::new(state)),
            Bounds::default(),
            Arc::clone(&requests),
            Some(Arc::new(shown.unwrap())),
            stop.clone(),
        ));
        Self {
            asked,
            ours,
            address,
            requests,
            serving,
            stop,
            _dir: dir,
        }
    }

    async fn connect(
        &self,
        identity: Option<&(rcgen::Certificate, KeyPair)>,
    ) -> std::io::Result<Stream> {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(self.ours.certificate.der().clone()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        let config = match identity {
            None => builder.with_no_client_auth(),
            Some((certificate, key)) => {
                let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
                let chain = vec![certificate.der().clone()];
                builder.with_client_auth_cert(chain, key).unwrap()
            }
        };
        let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
        let stream = tokio::net::TcpStream::connect(self.address).await.unwrap();
        connector.connect("one".try_into().unwrap(), stream).await
    }

    /// The answer on a connection of its own.
    async fn get(
        &self,
        identity: Option<&(rcgen::Certificate, KeyPair)>,
        header: &str,
    ) -> std::io::Result<String> {
        let mut stream = self.connect(identity).await?;
        ask(&mut stream, &format!("connection: close\r\n{header}")).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok(answer)
    }

    async fn end(mut self) {
        self.stop.cancel();
        self.serving.join_next().await.unwrap().unwrap();
    }
}

async fn ask(stream: &mut Stream, headers: &str) -> std::io::Result<()> {
    let asked = format!("GET /api/v1/sizing/shop/pod/web HTTP/1.1\r\nhost: one\r\n{headers}\r\n");
    stream.write_all(asked.as_bytes()).await
}

/// The first line of an answer, all of which is read.
async fn answer_of(stream: &mut Stream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    let head = String::from_utf8(head).unwrap().to_ascii_lowercase();
    let length = head.split_once("content-length: ").unwrap().1;
    let length: usize = length.lines().next().unwrap().parse().unwrap();
    stream.read_exact(&mut vec![0; length]).await.unwrap();
    head.lines().next().unwrap().to_owned()
}

#[tokio::test]
async fn a_certificate_of_the_given_authority_says_who_somebody_is() {
    let served = Served::at(|| 100).await;
    let alice = served.ours.signs("alice", "team-shop");
    let answer = served.get(Some(&alice), "").await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let lower = answer.to_ascii_lowercase();
    assert!(
        lower.contains("strict-transport-security: max-age=31536000"),
        "{answer}"
    );
    let (resource, spec) = served.asked.server.asked().pop().unwrap();
    assert_eq!(resource, "subjectaccessreviews", "no token to ask about");
    let groups = json!(["team-shop", "system:authenticated"]);
    assert_eq!((&spec["user"], &spec["groups"]), (&json!("alice"), &groups));
    // A token beside it counts before it.
    let header = format!("authorization: Bearer {}\r\n", token("bob"));
    let answer = served.get(Some(&alice), &header).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 403"), "{answer}");
    let answer = served.get(None, "").await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
    let foreign = Authority::new().signs("root", "system:masters");
    assert!(served.get(Some(&foreign), "").await.is_err());
    let requests = Arc::clone(&served.requests);
    served.end().await;
    let refused = requests.refused();
    assert!(refused.contains(&("tls", 1)), "{refused:?}");
}

#[tokio::test]
async fn no_certificate_counts_beyond_its_end_on_a_connection_that_goes_on() {
    static NOW_UNIX_S: AtomicU64 = AtomicU64::new(100);
    let served = Served::at(|| NOW_UNIX_S.load(Ordering::Relaxed)).await;
    // The handshake looks at the machine's clock, and takes it.
    let alice = served.ours.signs("alice", "team-shop");
    let mut stream = served.connect(Some(&alice)).await.unwrap();
    for (now_unix_s, status) in [
        (100, "http/1.1 200 ok"),
        (ENDS_UNIX_S, "http/1.1 200 ok"),
        (ENDS_UNIX_S + 1, "http/1.1 401 unauthorized"),
    ] {
        NOW_UNIX_S.store(now_unix_s, Ordering::Relaxed);
        ask(&mut stream, "").await.unwrap();
        assert_eq!(answer_of(&mut stream).await, status, "{now_unix_s}");
    }
    drop(stream);
    served.end().await;
}
