//! Whoever the kubeconfig says: what is shown to the API server, and to the collector as well.
//!
//! A plugin (`exec`) is a program that may take seconds and may ask its user something. It runs on a thread of
//! its own, and once: what it gave counts until that ends.

use std::error::Error;

use axum::http::{HeaderValue, Request, Response, header};
use kube::Config;
use kube::client::ConfigExt as _;
use kube::config::AuthInfo;
use tower::util::BoxService;
use tower::{Layer as _, ServiceExt as _, service_fn};

pub(super) type BoxError = Box<dyn Error + Send + Sync>;

/// Puts what is shown on a request that goes nowhere, and gives its value back.
type Shown = BoxService<Request<kube::client::Body>, Response<()>, BoxError>;

/// See the module.
pub(super) struct User {
    /// `None`: nothing, or a certificate.
    shown: Option<Shown>,
    /// The kubeconfig's, with what the plugin gave in the plugin's place.
    pub(super) config: Config,
}

impl User {
    /// Has a plugin say what is to be shown, if there is one.
    pub(super) async fn new(config: &Config) -> Result<Self, BoxError> {
        let asked = config.clone();
        let layer = blocking(move || asked.auth_layer()).await?;
        let shown = layer.map(|layer| {
            let seen = service_fn(|request: Request<kube::client::Body>| async move {
                let mut seen = Response::new(());
                *seen.headers_mut() = request.into_parts().0.headers;
                Ok::<_, BoxError>(seen)
            });
            BoxService::new(layer.layer(seen))
        });
        let mut user = Self {
            shown,
            config: config.clone(),
        };
        if let Some(value) = user.authorization().await? {
            user.put_for_plugin(&value);
        }
        Ok(user)
    }

    /// The value of the header that is shown, if one is. A token that ends is had anew before that.
    pub(super) async fn authorization(&mut self) -> Result<Option<HeaderValue>, BoxError> {
        let Some(shown) = &mut self.shown else {
            return Ok(None);
        };
        let request = Request::new(kube::client::Body::empty());
        let seen = shown.ready().await?;
        let seen = tower::Service::call(seen, request).await?;
        Ok(seen.headers().get(header::AUTHORIZATION).cloned())
    }

    /// Every use of the configuration would run the plugin again.
    fn put_for_plugin(&mut self, value: &HeaderValue) {
        let token = value.to_str().ok();
        let token = token.and_then(|value| value.strip_prefix("Bearer "));
        let user = &mut self.config.auth_info;
        let has_plugin = user.exec.is_some() || user.auth_provider.is_some();
        if let Some(token) = token.filter(|_| has_plugin) {
            (user.exec, user.auth_provider) = (None, None);
            user.token = Some(token.to_owned().into());
        }
    }
}

/// Whether it asks the API server to be taken for another: that is asked with headers, and the collector is
/// shown a token or a certificate alone.
pub(super) fn impersonates(user: &AuthInfo) -> bool {
    let groups = user.impersonate_groups.as_ref();
    let extra = user.impersonate_user_extra.as_ref();
    user.impersonate.is_some()
        || user.impersonate_uid.is_some()
        || groups.is_some_and(|groups| !groups.is_empty())
        || extra.is_some_and(|extra| !extra.is_empty())
}

/// What may run a program, or reads files, off the thread that has to watch the time.
pub(super) async fn blocking<T, E>(
    work: impl FnOnce() -> Result<T, E> + Send + 'static,
) -> Result<T, BoxError>
where
    T: Send + 'static,
    E: Into<BoxError> + Send + 'static,
{
    tokio::task::spawn_blocking(work).await?.map_err(Into::into)
}
