//! Whoever the kubeconfig says: what is shown to the API server, and to the collector as well.
//!
//! A plugin (`exec`) is a program that may take seconds and may ask its user something. It runs on a thread of
//! its own, and once: what it gave counts until that ends.

use std::error::Error;

use axum::http::{HeaderValue, Request, Response, header};
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::Config;
use kube::client::{AuthError, ConfigExt as _};
use kube::config::{AuthInfo, ExecConfig};
use tower::util::BoxService;
use tower::{Layer as _, ServiceExt as _, service_fn};

use super::plugin;

/// So long before its end a token is had anew.
const BEFORE_END: SignedDuration = SignedDuration::from_mins(1);

pub(super) type BoxError = Box<dyn Error + Send + Sync>;

/// Puts what is shown on a request that goes nowhere, and gives its value back.
type Shown = BoxService<Request<kube::client::Body>, Response<()>, BoxError>;

/// See the module.
pub(super) struct User {
    plugin: Option<ExecConfig>,
    /// When the plugin's token ends.
    until: Option<Timestamp>,
    /// `None`: nothing, or a certificate.
    shown: Option<Shown>,
    /// The kubeconfig's, with what the plugin gave in the plugin's place.
    pub(super) config: Config,
}

impl User {
    /// Has a plugin say what is to be shown, if there is one.
    pub(super) async fn new(config: &Config) -> Result<Self, BoxError> {
        let mut user = Self {
            plugin: plugin::of(&config.auth_info),
            until: None,
            shown: None,
            config: config.clone(),
        };
        user.look().await?;
        if user.config.auth_info.auth_provider.is_some()
            && let Some(value) = user.authorization().await?
        {
            user.put_for_provider(&value);
        }
        Ok(user)
    }

    /// The value of the header that is shown, if one is. A token that ends is had anew before that.
    pub(super) async fn authorization(&mut self) -> Result<Option<HeaderValue>, BoxError> {
        let ends = |until| Timestamp::now() + BEFORE_END >= until;
        // One that has ended as it comes is shown all the same: it may be told by a clock that is wrong.
        if self.until.take_if(|until| ends(*until)).is_some() {
            self.look().await?;
        }
        let Some(shown) = &mut self.shown else {
            return Ok(None);
        };
        let request = Request::new(kube::client::Body::empty());
        let seen = shown.ready().await?;
        let seen = tower::Service::call(seen, request).await?;
        Ok(seen.headers().get(header::AUTHORIZATION).cloned())
    }

    async fn look(&mut self) -> Result<(), BoxError> {
        if let Some(plugin) = self.plugin.clone() {
            let run = move || {
                let given = plugin::run(&plugin)?;
                let until = given.until()?;
                Ok::<_, AuthError>((given, until))
            };
            let (given, until) = blocking(run).await?;
            given.put(&mut self.config.auth_info)?;
            self.until = until;
        }
        let asked = self.config.clone();
        let layer = blocking(move || asked.auth_layer()).await?;
        self.shown = layer.map(|layer| {
            let seen = service_fn(|request: Request<kube::client::Body>| async move {
                let mut seen = Response::new(());
                *seen.headers_mut() = request.into_parts().0.headers;
                Ok::<_, BoxError>(seen)
            });
            BoxService::new(layer.layer(seen))
        });
        Ok(())
    }

    /// A plugin of the old way (`auth-provider`) would be run again by every use of the configuration.
    fn put_for_provider(&mut self, value: &HeaderValue) {
        let token = value.to_str().ok();
        if let Some(token) = token.and_then(|value| value.strip_prefix("Bearer ")) {
            let user = &mut self.config.auth_info;
            user.auth_provider = None;
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
