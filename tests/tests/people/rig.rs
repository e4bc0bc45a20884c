//! A collector in a cluster, people who ask it, and what lies between.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use plimsoll_tests::apiserver::{API_AUDIENCE, ApiServer, Options, Rule, Token, User};
use plimsoll_tests::manifest;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use serde_json::{Value, json};

pub(crate) const NAME: &str = "plimsoll-collector.plimsoll.svc";
pub(crate) const POD: &str = "plimsoll-collector-0";
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

/// An authority's certificate, and a certificate of the collector with its key, all PEM.
pub(crate) fn certificates() -> [String; 3] {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params
        .distinguished_name
        .push(DnType::CommonName, "plimsoll-ca");
    let key = KeyPair::generate().unwrap();
    let authority = params.self_signed(&key).unwrap().pem();
    let issuer = Issuer::new(params, key);
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec![NAME.to_owned()]).unwrap();
    let certificate = params.signed_by(&key, &issuer).unwrap().pem();
    [authority, certificate, key.serialize_pem()]
}

/// A program that ends with the test.
pub(crate) struct Running(pub(crate) Child);

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

pub(crate) struct Cluster {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) server: ApiServer,
    pub(crate) address: SocketAddr,
    pub(crate) _collector: Running,
}

impl Cluster {
    /// A collector in a cluster in which alice may see the sizing of `shop`, and bob nothing.
    pub(crate) fn new() -> Self {
        Self::with(Options::default())
    }

    /// The same; with TLS the API server's authority is that of people's certificates.
    pub(crate) fn with(options: Options) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let server = ApiServer::start(options).unwrap();
        server.allow_only(
            &ApiServer::collector(),
            manifest::granted_to_the_collector().unwrap(),
        );
        let person = |name: &str, group: &str| {
            let user = User::person(&format!("{name}@example.com"), &[group]);
            server.allow_only(&user, manifest::granted_to_people().unwrap());
            server.token(name, Token::valid(user, API_AUDIENCE));
        };
        person("alice", "team-shop");
        person("bob", "team-none");
        let shop = Rule::group("team-shop").may("get", "plimsoll.dev", "sizing");
        server.allow(shop.within("shop"));
        let [authority, certificate, key] = certificates();
        let address = free_address();
        let collector = start(folder.path(), &server, address, &certificate, &key);
        server
            .apply(json!({"apiVersion": "v1", "kind": "Pod",
                "metadata": {"name": POD, "namespace": "plimsoll",
                    "labels": {"app.kubernetes.io/name": "plimsoll-collector"}},
                "spec": {"containers": [{"name": "collector", "image": "c"}]},
                "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}}))
            .unwrap();
        server.forward("plimsoll", POD, 8443, address);
        let cluster = Self {
            folder,
            server,
            address,
            _collector: collector,
        };
        cluster.know_by(&authority);
        cluster.until_it_answers(address);
        cluster
    }

    /// The authority by which the collector is known.
    pub(crate) fn know_by(&self, authority: &str) {
        self.server
            .apply(json!({"apiVersion": "v1", "kind": "ConfigMap",
                "metadata": {"name": "plimsoll-ca", "namespace": "plimsoll"},
                "data": {"ca.crt": authority}}))
            .unwrap();
    }

    pub(crate) fn until_it_answers(&self, address: SocketAddr) {
        self.until(|| TcpStream::connect(address).is_ok());
    }

    #[track_caller]
    pub(crate) fn until(&self, is: impl Fn() -> bool) {
        let began = Instant::now();
        while !is() {
            let log = || std::fs::read_to_string(self.folder.path().join("log"));
            assert!(began.elapsed() < PATIENCE, "{}", log().unwrap());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// `plimsoll` in the hands of somebody with a token.
    pub(crate) fn plimsoll(&self, who: &str, args: &[&str]) -> Command {
        self.plimsoll_of(&json!({"token": who}), args)
    }

    /// The same of whoever a kubeconfig's user is.
    pub(crate) fn plimsoll_of(&self, user: &Value, args: &[&str]) -> Command {
        let kubeconfig = self.folder.path().join("person");
        std::fs::write(&kubeconfig, self.server.kubeconfig_of(user)).unwrap();
        let mut command = Command::new(program("plimsoll"));
        command.args(args).env_clear().env("KUBECONFIG", kubeconfig);
        command
    }

    /// Looks on at the audit events of `shop`; what it has to tell is in a file.
    pub(crate) fn follow(&self, user: &Value) -> Running {
        let audit = Rule::group("team-shop").may("read", "plimsoll.dev", "audit");
        self.server.allow(audit.within("shop"));
        let told = std::fs::File::create(self.folder.path().join("told")).unwrap();
        let mut command = self.plimsoll_of(user, &["audit", "tail", "-f", "-n", "shop"]);
        command.stdout(Stdio::null()).stderr(told);
        Running(command.spawn().unwrap())
    }

    /// A user whose plugin gives alice's token after so many seconds, and the file with a line for each run.
    pub(crate) fn plugin(&self, seconds: u32) -> (Value, PathBuf) {
        self.plugin_gives("alice");
        let [runs, gives] = ["runs", "gives"].map(|name| self.folder.path().join(name));
        let (run, give) = (runs.display(), gives.display());
        let script = format!("sleep {seconds}; echo run >> '{run}'; cat '{give}'");
        let exec = json!({"apiVersion": "client.authentication.k8s.io/v1", "command": "/bin/sh",
            "args": ["-c", script], "interactiveMode": "Never"});
        (json!({ "exec": exec }), runs)
    }

    pub(crate) fn plugin_gives(&self, token: &str) {
        let credential = json!({"apiVersion": "client.authentication.k8s.io/v1",
            "kind": "ExecCredential",
            "status": {"token": token, "expirationTimestamp": "2100-01-01T00:00:00Z"}});
        let path = self.folder.path().join("gives");
        std::fs::write(path, credential.to_string()).unwrap();
    }

    #[track_caller]
    pub(crate) fn answer(&self, who: &str, args: &[&str]) -> Value {
        answered(&mut self.plimsoll(who, args))
    }

    #[track_caller]
    pub(crate) fn refusal(&self, who: &str, args: &[&str], says: &[&str]) {
        refused(&mut self.plimsoll(who, args), says);
    }
}

#[track_caller]
pub(crate) fn answered(plimsoll: &mut Command) -> Value {
    let output = plimsoll.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0), "{said}");
    serde_json::from_slice(&output.stdout).unwrap()
}

#[track_caller]
pub(crate) fn refused(plimsoll: &mut Command, says: &[&str]) {
    let output = plimsoll.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{said}");
    for part in says {
        assert!(said.contains(part), "no {part:?} in: {said}");
    }
}

/// Between an API server that forwards and the collector.
#[derive(Default)]
pub(crate) struct Relay {
    pub(crate) carried: Mutex<Vec<TcpStream>>,
    /// That came for the collector.
    pub(crate) pieces: AtomicUsize,
}

impl Relay {
    pub(crate) fn start(to: SocketAddr) -> (Arc<Self>, SocketAddr) {
        let (relay, listener) = (Arc::<Self>::default(), TcpListener::bind("127.0.0.1:0"));
        let listener = listener.unwrap();
        let address = listener.local_addr().unwrap();
        let kept = Arc::clone(&relay);
        std::thread::spawn(move || {
            for from in listener.incoming() {
                let (from, to) = (from.unwrap(), TcpStream::connect(to).unwrap());
                let again = |of: &TcpStream| of.try_clone().unwrap();
                relay.carried.lock().unwrap().push(again(&from));
                let counting = Arc::clone(&relay);
                let (there, back) = ((again(&from), again(&to)), (to, from));
                std::thread::spawn(move || {
                    carry(there, || {
                        _ = counting.pieces.fetch_add(1, Ordering::Relaxed);
                    });
                });
                std::thread::spawn(move || carry(back, || ()));
            }
        });
        (kept, address)
    }

    pub(crate) fn pieces(&self) -> usize {
        self.pieces.load(Ordering::Relaxed)
    }

    pub(crate) fn carried(&self) -> usize {
        self.carried.lock().unwrap().len()
    }

    pub(crate) fn cut(&self) {
        for stream in &*self.carried.lock().unwrap() {
            drop(stream.shutdown(Shutdown::Both));
        }
    }
}

pub(crate) fn carry((mut from, mut to): (TcpStream, TcpStream), count: impl Fn()) {
    let mut buffer = vec![0; 1 << 16];
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        count();
        if to.write_all(&buffer[..length]).is_err() {
            break;
        }
    }
    drop(to.shutdown(Shutdown::Both));
}

pub(crate) fn start(
    folder: &Path,
    server: &ApiServer,
    address: SocketAddr,
    certificate: &str,
    key: &str,
) -> Running {
    let file = |name: &str, text: &str| {
        let path = folder.join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let client_ca = server.authority_pem().map(|pem| file("client-ca.crt", pem));
    let config = json!({
        "data": {"path": folder.join("state")},
        "ingest": {"listen": free_address()},
        "kubernetes": {"kubeconfig": file("kubeconfig", &server.kubeconfig())},
        "http": {
            "listen": address,
            "access": "kubernetes",
            "tls_cert_file": file("tls.crt", certificate),
            "tls_key_file": file("tls.key", key),
            "client_ca_file": client_ca,
        },
    });
    let mut collector = Command::new(program("plimsoll-collector"));
    collector
        .arg("--config")
        .arg(file("collector.yaml", &config.to_string()))
        .stdin(Stdio::null())
        .stderr(std::fs::File::create(folder.join("log")).unwrap());
    Running(collector.spawn().unwrap())
}

pub(crate) fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
}

/// Built beside this test by `cargo test --workspace`.
pub(crate) fn program(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let path = test.ancestors().nth(2).unwrap().join(name);
    assert!(path.exists(), "{} is not built", path.display());
    path
}
