#![expect(
    clippy::disallowed_methods,
    reason = "shell: a server on loopback with a runtime of its own"
)]
//! A Kubernetes API server for tests: it speaks the real protocol, word for word as a server of
//! version 1.35 was recorded, and can misbehave on request.
//!
//! ```no_run
//! use plimsoll_tests::apiserver::{ApiServer, Fault, On, Options, Rule, Token, User, recorded};
//! # fn main() -> anyhow::Result<()> {
//! let server = ApiServer::start(Options::default())?;
//! server.load(&recorded::list("pods.json")?)?;
//! server.fault(On::list("/api/v1/pods").skip(1), Fault::too_many_requests(1));
//! let agent = User::service_account("plimsoll-agent", "plimsoll-agent").on_node("node-a", "uid");
//! server.token("agent-token", Token::valid(agent, "plimsoll-collector"));
//! server.allow(Rule::group("team").may("get", "plimsoll.dev", "sizing").within("shop"));
//! std::fs::write("kubeconfig", server.kubeconfig())?;
//! // … start the collector, then let something happen …
//! server.delete("", "pods", "shop", "cache-0")?;
//! server.bookmark();
//! server.wait_for("a watch of pods", |asked| asked.iter().any(|r| r.watch == Some(true)))?;
//! server.finish()?; // an error if something was asked that nobody expected
//! # Ok(())
//! # }
//! ```
//!
//! | module | owns |
//! | --- | --- |
//! | `connection` | sockets and TLS |
//! | `answer` | one call from head to answer |
//! | `catalog` | discovery, and what paths mean |
//! | `query`, `list`, `watch` | what is asked of a kind, and its answer |
//! | `cluster` | what tests let happen to the objects |
//! | `store`, `object` | the objects, their versions and the log |
//! | `identity`, `review` | tokens, rights and what reviews say of them |
//! | `fault`, `out` | misbehaviour, and the bytes on their way |
//! | `fleet`, `template` | generated clusters of any size |
//!
//! It writes nothing that clients send: but for reviews it is read only, and what happens in the
//! cluster is said by the test.

mod answer;
mod catalog;
mod cluster;
mod connection;
mod fault;
pub mod fleet;
mod forward;
mod identity;
mod list;
mod object;
mod out;
mod query;
pub mod recorded;
mod review;
mod status;
mod store;
mod template;
mod watch;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use self::catalog::{Catalog, Resource};
use self::connection::Certificate;
use self::fault::Script;
use self::store::Store;

pub use self::fault::{Fault, On, Point, after, amid};
pub use self::identity::{API_AUDIENCE, Rule, Token, User};
pub use self::object::Recipe;
pub use self::status::Canned;

/// The token that is good from the beginning: that of the collector's service account.
pub const COLLECTOR_TOKEN: &str = "collector-token";
/// How long [`ApiServer::wait_for`] waits before it gives up.
const PATIENCE: Duration = Duration::from_secs(30);

/// How the server is to be.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// HTTPS instead of plain HTTP.
    pub tls: bool,
    /// Whether a watch can send what there is and mark its end (Kubernetes 1.34 and newer do).
    pub watch_list: bool,
    /// Between two bookmarks of a watch; the real one takes a minute.
    pub bookmark_every: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            tls: false,
            watch_list: true,
            bookmark_every: Duration::from_mins(1),
        }
    }
}

/// One call, as it came.
#[derive(Clone, Debug)]
pub struct Request {
    /// Since the server started.
    pub at: Duration,
    /// GET, as a rule.
    pub method: String,
    /// Without the query.
    pub path: String,
    /// As it was sent.
    pub query: String,
    /// Whether it is a watch; `None`: neither list nor watch.
    pub watch: Option<bool>,
    /// Who asked; empty when the token was not good or a fault came first.
    pub user: String,
    /// The User-Agent.
    pub agent: String,
    /// The Accept header.
    pub accept: String,
    /// What was posted.
    pub body: String,
    /// Of the answer; 0: none was given.
    pub status: u16,
}

/// API group, plural and verb: what a rule of RBAC grants.
pub type Grant = (String, String, String);

#[derive(Debug)]
struct Denial {
    verb: String,
    group: String,
    plural: String,
}

impl Denial {
    fn is_met(&self, verb: &str, resource: &Resource) -> bool {
        let is = |rule: &str, asked: &str| rule == "*" || rule == asked;
        is(&self.verb, verb)
            && is(&self.group, &resource.group)
            && is(&self.plural, &resource.plural)
    }
}

#[derive(Debug, Default)]
struct State {
    store: Store,
    catalog: Catalog,
    watch_list: bool,
    tokens: BTreeMap<String, Token>,
    /// Users by their certificates, DER.
    certificates: BTreeMap<Vec<u8>, User>,
    rules: Vec<Rule>,
    denials: Vec<Denial>,
    denied_paths: BTreeSet<String>,
    /// What users may do at all, by user, as (group, plural, verb); others are not bound.
    only: BTreeMap<String, BTreeSet<Grant>>,
    expected: Vec<String>,
    /// Where the ports of pods lead to, by namespace and name.
    forwards: BTreeMap<(String, String), (u16, SocketAddr)>,
    script: Script,
    requests: Vec<Request>,
    unexpected: Vec<String>,
}

/// What wakes the watches.
#[derive(Debug, Default)]
struct Pulse {
    bookmarks: u64,
    ends: u64,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    pulse: tokio::sync::watch::Sender<Pulse>,
    /// Whether connections are closed as they come.
    down: tokio::sync::watch::Sender<bool>,
    /// Whether answers are held no more.
    released: tokio::sync::watch::Sender<bool>,
    options: Options,
    begin: Instant,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A running server; connections end when it is dropped.
#[derive(Debug)]
pub struct ApiServer {
    shared: Arc<Shared>,
    address: SocketAddr,
    certificate: Option<Arc<Certificate>>,
    runtime: Option<tokio::runtime::Runtime>,
}

impl ApiServer {
    /// Serves on a free port of 127.0.0.1, with no objects, everything allowed to
    /// [`COLLECTOR_TOKEN`] and nothing to anybody else.
    ///
    /// # Errors
    /// No socket, no certificate.
    pub fn start(options: Options) -> Result<Self> {
        let certificate = options
            .tls
            .then(Certificate::new)
            .transpose()?
            .map(Arc::new);
        let collector = Self::collector();
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                watch_list: options.watch_list,
                tokens: [(
                    COLLECTOR_TOKEN.to_owned(),
                    Token::valid(collector, API_AUDIENCE),
                )]
                .into(),
                ..State::default()
            }),
            pulse: tokio::sync::watch::Sender::default(),
            down: tokio::sync::watch::Sender::default(),
            released: tokio::sync::watch::Sender::default(),
            options,
            begin: Instant::now(),
        });
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("apiserver")
            .enable_all()
            .build()
            .context("the server's runtime")?;
        let listener = std::net::TcpListener::bind("127.0.0.1:0").context("127.0.0.1")?;
        listener
            .set_nonblocking(true)
            .context("the server's socket")?;
        let address = listener.local_addr().context("the server's address")?;
        let listener = {
            let _within = runtime.enter();
            tokio::net::TcpListener::from_std(listener).context("the server's socket")?
        };
        runtime.spawn(connection::accept(
            Arc::clone(&shared),
            listener,
            certificate.clone(),
        ));
        Ok(Self {
            shared,
            address,
            certificate,
            runtime: Some(runtime),
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `http://127.0.0.1:PORT` or `https://…`.
    pub fn url(&self) -> String {
        let scheme = if self.certificate.is_some() {
            "https"
        } else {
            "http"
        };
        format!("{scheme}://{}", self.address)
    }

    /// The certificate authority, of the server and of clients, with TLS.
    pub fn authority_pem(&self) -> Option<&str> {
        let certificate = self.certificate.as_ref();
        certificate.map(|certificate| certificate.authority_pem.as_str())
    }

    /// A kubeconfig's user with a certificate of this server's authority, for a person of one group.
    ///
    /// # Errors
    /// The server has no TLS, or it cannot be made.
    pub fn certificate(&self, name: &str, group: &str) -> Result<Value> {
        let certificate = self.certificate.as_ref();
        let certificate = certificate.context("certificates are shown with TLS")?;
        let made = certificate.of_client(name, group)?;
        let user = User::person(name, &[group]);
        self.state().certificates.insert(made.der, user);
        let encoded = |pem: &str| query::base64_padded(pem.as_bytes());
        Ok(json!({"client-certificate-data": encoded(&made.pem),
            "client-key-data": encoded(&made.key_pem)}))
    }

    /// A kubeconfig whose user shows [`COLLECTOR_TOKEN`].
    pub fn kubeconfig(&self) -> String {
        self.kubeconfig_of(&json!({"token": COLLECTOR_TOKEN}))
    }

    /// A kubeconfig with this `user`: `{"tokenFile": PATH}`, `{}`. It is JSON, which is YAML.
    pub fn kubeconfig_of(&self, user: &Value) -> String {
        let mut cluster = json!({"server": self.url()});
        if let Some(pem) = self.authority_pem() {
            cluster["certificate-authority-data"] = query::base64_padded(pem.as_bytes()).into();
        }
        let config = json!({"apiVersion": "v1", "kind": "Config", "current-context": "test",
            "clusters": [{"name": "test", "cluster": cluster}],
            "users": [{"name": "test", "user": user}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}]});
        format!("{config:#}\n")
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state()
    }

    fn wake(&self) {
        self.shared.pulse.send_modify(|_| ());
    }

    /// Whether watches can send what there is; as after an upgrade of the server.
    pub fn set_watch_list(&self, on: bool) {
        self.state().watch_list = on;
    }

    /// Takes an API group away, as where its CRDs are not installed.
    pub fn hide_group(&self, group: &str) {
        self.state().catalog.hide(group);
    }

    /// Gives it back.
    pub fn show_group(&self, group: &str) {
        self.state().catalog.show(group);
    }

    /// An aggregated API (`metrics.k8s.io`) that is there but does not answer.
    pub fn set_stale(&self, group: &str, stale: bool) {
        self.state().catalog.set_stale(group, stale);
    }

    /// What a token is from now on: for calls to this server if it has [`API_AUDIENCE`], and for
    /// TokenReview. A token that is not known is not good.
    pub fn token(&self, token: &str, is: Token) {
        self.state().tokens.insert(token.to_owned(), is);
    }

    /// A right for SubjectAccessReview.
    pub fn allow(&self, rule: Rule) {
        self.state().rules.push(rule);
    }

    /// Takes all rights for SubjectAccessReview back.
    pub fn allow_nothing(&self) {
        self.state().rules.clear();
    }

    /// Calls of this kind are answered 403 from now on; `*` stands for anything.
    pub fn deny(&self, verb: &str, group: &str, plural: &str) {
        let (verb, group, plural) = (verb.to_owned(), group.to_owned(), plural.to_owned());
        let denial = Denial {
            verb,
            group,
            plural,
        };
        self.state().denials.push(denial);
    }

    /// A path that is no resource is answered 403 from now on.
    pub fn deny_path(&self, path: &str) {
        self.state().denied_paths.insert(path.to_owned());
    }

    /// Nothing is denied any more.
    pub fn deny_nothing(&self) {
        let mut state = self.state();
        state.denials.clear();
        state.denied_paths.clear();
    }

    /// A user may do this and nothing else: what else it asks for is answered 403 and counts as
    /// unexpected. Reviews are kinds too, and forwards are `pods/portforward`.
    pub fn allow_only(&self, user: &User, grants: impl IntoIterator<Item = Grant>) {
        let (user, grants) = (user.name.clone(), grants.into_iter().collect());
        self.state().only.insert(user, grants);
    }

    /// The user that [`COLLECTOR_TOKEN`] stands for.
    pub fn collector() -> User {
        User::service_account("plimsoll", "plimsoll-collector")
    }

    /// A path (all that begin so if it ends with `*`) that may be asked for though it is not
    /// served: an optional CRD.
    pub fn expect(&self, path: &str) {
        self.state().expected.push(path.to_owned());
    }

    /// Scripts a misbehaviour.
    pub fn fault(&self, on: On, fault: Fault) {
        self.state().script.push(on, fault);
    }

    /// Gives the answers that [`Fault::Held`] holds, and holds none from now on.
    pub fn release(&self) {
        self.shared.released.send_replace(true);
    }

    /// No more of it.
    pub fn heal(&self) {
        self.state().script.clear();
    }

    /// Down: all connections are closed, new ones as soon as they are made. Up: they are served
    /// again, with the objects as they are by then.
    pub fn set_down(&self, down: bool) {
        self.shared.down.send_replace(down);
    }

    /// Everything that was asked so far.
    pub fn requests(&self) -> Vec<Request> {
        self.state().requests.clone()
    }

    /// Waits until what was asked is as `is` wants it.
    ///
    /// # Errors
    /// It is not, for a long while.
    pub fn wait_for(&self, what: &str, is: impl Fn(&[Request]) -> bool) -> Result<()> {
        let begin = Instant::now();
        while !is(&self.state().requests) {
            if begin.elapsed() > PATIENCE {
                bail!(
                    "{what} was not asked for in {PATIENCE:?}: {:#?}",
                    self.requests()
                );
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    /// As [`ApiServer::wait_for`], for tests whose client runs on the same thread.
    ///
    /// # Errors
    /// It is not, for a long while.
    pub async fn until(&self, what: &str, is: impl Fn(&[Request]) -> bool) -> Result<()> {
        let begin = Instant::now();
        while !is(&self.state().requests) {
            if begin.elapsed() > PATIENCE {
                bail!(
                    "{what} was not asked for in {PATIENCE:?}: {:#?}",
                    self.requests()
                );
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(())
    }

    /// The end: everything that was asked.
    ///
    /// # Errors
    /// Something was asked that is not served and that nobody expected, or a scripted fault has
    /// not happened.
    pub fn finish(self) -> Result<Vec<Request>> {
        let mut state = self.state();
        let unexpected = std::mem::take(&mut state.unexpected);
        let left = state.script.left();
        let requests = std::mem::take(&mut state.requests);
        drop(state);
        if !unexpected.is_empty() {
            bail!("unexpected calls:\n  {}", unexpected.join("\n  "));
        }
        if !left.is_empty() {
            bail!("faults that did not happen:\n  {}", left.join("\n  "));
        }
        Ok(requests)
    }
}

impl Drop for ApiServer {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // Not blocking: it may be dropped within a test's own runtime.
            runtime.shutdown_background();
        }
    }
}
