//! Connections with client certificates, over TLS.

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::api::{Bounds, Requests, serve};
use crate::tls;

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
        params.distinguished_name.push(DnType::CommonName, name);
        params
            .distinguished_name
            .push(DnType::OrganizationName, group);
        let key = KeyPair::generate().unwrap();
        (params.signed_by(&key, &self.issuer).unwrap(), key)
    }
}

#[tokio::test]
async fn a_certificate_of_the_given_authority_says_who_somebody_is() {
    let asked = Asked::new().await;
    let folder = tempfile::tempdir().unwrap();
    let put = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let (ours, other) = (Authority::new(), Authority::new());
    let (own, key) = ours.signs("plimsoll", "");
    let shown = tls::Shown::read(tls::Files {
        door: tls::Door::Http,
        certificate: put("cert", &own.pem()),
        key: put("key", &key.serialize_pem()),
        client_ca: Some(put("ca", &ours.certificate.pem())),
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let stop = CancellationToken::new();
    let dir = tempfile::tempdir().unwrap();
    let clock = crate::cluster::reviews::clock();
    let requests = Arc::<Requests>::default();
    let rules = Rules::new(
        asked.server.reviewer(),
        clock,
        || 100,
        Arc::clone(&requests),
    );
    let state = state(&dir).with_rules(Arc::new(rules)).with_tls(true);
    let mut serving = JoinSet::new();
    serving.spawn(serve(
        listener,
        router(Arc::new(state)),
        Bounds::default(),
        Arc::clone(&requests),
        Some(Arc::new(shown.unwrap())),
        stop.clone(),
    ));
    let get = async |identity: Option<&(rcgen::Certificate, KeyPair)>, header: &str| {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(ours.certificate.der().clone()).unwrap();
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
        let stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let mut stream = connector.connect("one".try_into().unwrap(), stream).await?;
        let asked = format!(
            "GET /api/v1/sizing/shop/pod/web HTTP/1.1\r\nhost: one\r\nconnection: close\r\n{header}\r\n"
        );
        stream.write_all(asked.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        std::io::Result::Ok(answer)
    };
    let alice = ours.signs("alice", "team-shop");
    let answer = get(Some(&alice), "").await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let lower = answer.to_ascii_lowercase();
    assert!(
        lower.contains("strict-transport-security: max-age=31536000"),
        "{answer}"
    );
    let (resource, spec) = asked.server.asked().pop().unwrap();
    assert_eq!(resource, "subjectaccessreviews", "no token to ask about");
    let groups = json!(["team-shop", "system:authenticated"]);
    assert_eq!((&spec["user"], &spec["groups"]), (&json!("alice"), &groups));
    // A token beside it counts before it.
    let header = format!("authorization: Bearer {}\r\n", token("bob"));
    let answer = get(Some(&alice), &header).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 403"), "{answer}");
    let answer = get(None, "").await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
    let foreign = other.signs("root", "system:masters");
    assert!(get(Some(&foreign), "").await.is_err());
    stop.cancel();
    serving.join_next().await.unwrap().unwrap();
    let refused = requests.refused();
    assert!(refused.contains(&("tls", 1)), "{refused:?}");
}
