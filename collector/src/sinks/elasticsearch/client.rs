//! The calls to Elasticsearch: `_bulk` with who we are, and what came back. The secret is read for each call and not
//! kept.

use axum::body::Body;
use hyper::header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE};
use hyper::{Method, Request};

use super::interpret::{Answer, Reply};
use super::limits::ANSWER_BYTES;
use crate::config::sinks::elasticsearch::{Auth, Elasticsearch as Settings};
use crate::sinks::http::client::{Client as Http, Version};
use crate::sinks::http::secret::{NoSecret, Secret};
use crate::sinks::http::{Failure, base64, packed};
use crate::sinks::trust::{self, Files};
use crate::sinks::{BoxError, RefusalKind};

/// What an answer is to have: what else it would say of each event is nothing that is read.
const PATH: &str = "/_bulk?filter_path=errors,error,items.create._id,items.create.status,items.create.error,\
                    items.create.failure_store";

/// The calls that the sink makes.
pub trait Calls {
    /// Events.
    fn post(&self, body: Vec<u8>) -> impl Future<Output = Reply> + Send;
}

/// A client of one address.
#[derive(Debug)]
pub struct Client {
    http: Http,
    path: String,
    auth: Auth,
    username: String,
    secret: Option<Secret>,
    packs: bool,
}

impl Client {
    /// For these settings; asks nobody yet.
    pub fn new(settings: &Settings) -> Self {
        let pipeline = settings.pipeline.as_deref();
        let pipeline = pipeline.map(|name| format!("&pipeline={name}"));
        Self {
            http: Http::new(&settings.endpoint, files(settings), Version::Http1),
            path: format!("{PATH}{}", pipeline.unwrap_or_default()),
            auth: settings.auth,
            username: settings.username.clone().unwrap_or_default(),
            secret: Secret::of(settings.secret_file.as_ref(), settings.secret_env.as_ref()),
            packs: settings.gzip,
        }
    }

    fn request(&self, body: Vec<u8>) -> Result<Request<Body>, Failure> {
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(format!("{}{}", self.http.endpoint(), self.path))
            .header(CONTENT_TYPE, "application/x-ndjson");
        if let Some(secret) = &self.secret {
            let header = secret.header(|text| self.written(text));
            let unread = |error| Failure::unmade(RefusalKind::Credentials, error);
            request = request.header(AUTHORIZATION, header.map_err(unread)?);
        }
        let body = if self.packs {
            request = request.header(CONTENT_ENCODING, "gzip");
            packed(&body)
        } else {
            body
        };
        let request = request.body(Body::from(body));
        request.map_err(|error| Failure::unmade(RefusalKind::Other, error))
    }

    fn written(&self, secret: &str) -> String {
        match self.auth {
            Auth::Basic => {
                let both = format!("{}:{secret}", self.username);
                format!("Basic {}", base64(both.as_bytes()))
            }
            Auth::ApiKey => format!("ApiKey {secret}"),
            Auth::None | Auth::Bearer => format!("Bearer {secret}"),
        }
    }
}

impl Calls for Client {
    async fn post(&self, body: Vec<u8>) -> Reply {
        let received = match self.request(body) {
            Ok(request) => self.http.call(request, ANSWER_BYTES).await,
            Err(failure) => Err(failure),
        };
        match received {
            Err(failure) => Reply::Failed(failure),
            Ok(received) => Reply::Answered(Answer {
                status: received.status,
                retry_after_ms: received.retry_after_ms(),
                body: received.body,
            }),
        }
    }
}

fn files(settings: &Settings) -> Files<'_> {
    Files {
        ca_file: settings.ca_file.as_deref(),
        cert_file: settings.cert_file.as_deref(),
        key_file: settings.key_file.as_deref(),
    }
}

/// What is wrong with the files that the settings name, each with its setting.
pub fn unusable(settings: &Settings) -> Vec<(&'static str, BoxError)> {
    let secret = settings.secret_file.as_ref();
    let secret = secret.filter(|path| !path.as_os_str().is_empty());
    let secret = secret.map(|path| Secret::File(path.clone()).read());
    let secret = secret.and_then(Result::err);
    let secret = secret.map(|error: NoSecret| ("secret_file", error.into()));
    secret
        .into_iter()
        .chain(trust::unusable(files(settings)))
        .collect()
}
