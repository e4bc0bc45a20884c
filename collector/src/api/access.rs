//! Who asks, and what they may see.
//!
//! ```text
//!  bearer token ─► TokenReview ───────┐
//!  client certificate (handshake) ────┴► user ─► SubjectAccessReview for each right ─► allowed, denied
//! ```
//!
//! Headers such as `X-Remote-User` say nothing here. What was allowed or denied counts for
//! [`RIGHT_FOR`], whose a token is for [`USER_FOR`]. One address has a share of the questions about tokens
//! that were never good, one user of those about rights; beyond it the answer is 429. Every decision is counted and
//! logged with who, what and why; never with a token. Allowed ones are told at `info`; denied ones, those that could
//! not be made, and strangers at `warn`, of each [`lines::LINES_A_MINUTE`](super::lines) at the most, for anybody can make them, and the
//! first line after that says how many were left out.

mod rules;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tokio::task::JoinSet;

use super::requests::Decision;
use super::{ApiError, ApiState};
use crate::cluster::access::{Resource, Right, Verdict};
use crate::cluster::shares::Spent;
use crate::cluster::token::User;

pub use rules::{Client, Holder, RIGHT_FOR, Rules, USER_FOR};
use rules::{Hash, NoVerdict, Stranger, hash_of};

/// Namespaces that are asked about for one list. Who may see more than that may see all as a rule.
const MAX_NAMESPACES: usize = 2000;
/// Of which at a time.
const NAMESPACES_AT_A_TIME: usize = 8;
/// Of which the log names so many.
const MAX_TOLD: usize = 50;
/// Longest name of a namespace (RFC 1123).
const MAX_NAMESPACE: usize = 63;

/// Whoever asks.
#[derive(Clone)]
pub(super) enum Caller {
    /// On a loopback address, where nobody is asked who they are.
    Anyone,
    /// A user.
    Known(Arc<Known>),
}

/// A user with a request.
pub(super) struct Known {
    rules: Arc<Rules>,
    user: Arc<User>,
    hash: Hash,
    client: Option<SocketAddr>,
    path: String,
}

/// Namespaces that somebody sees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    /// All, and what is in none.
    All,
    /// These.
    Only(BTreeSet<String>),
}

impl Seen {
    /// Whether what is in that namespace, or in none, is seen.
    pub fn has(&self, namespace: Option<&str>) -> bool {
        match self {
            Self::All => true,
            Self::Only(these) => namespace.is_some_and(|namespace| these.contains(namespace)),
        }
    }
}

impl Caller {
    /// Goes on if the caller has the right.
    pub(super) async fn needs(&self, right: Right) -> Result<(), ApiError> {
        let Self::Known(known) = self else {
            return Ok(());
        };
        let words = right.to_string();
        if let Right::Of(_, Some(namespace)) = &right {
            check_namespace(namespace)?;
        }
        let verdict = known.verdict(right).await?;
        known.tell(&words, &verdict);
        if verdict.allowed {
            return Ok(());
        }
        Err(known.denied(&words))
    }

    /// Whether the caller has the right. Nobody is denied what they did not ask for: without it a page leaves
    /// something out, and that is not counted, nor told.
    pub(super) async fn may(&self, right: Right) -> Result<bool, ApiError> {
        let Self::Known(known) = self else {
            return Ok(true);
        };
        let words = right.to_string();
        let verdict = known.verdict(right).await?;
        if verdict.allowed {
            known.tell(&words, &verdict);
        }
        Ok(verdict.allowed)
    }

    /// Which namespaces of a list the caller sees: all, or the `wanted` one, or those of `present`, which
    /// is only asked for if it has to be.
    pub(super) async fn sees(
        &self,
        resource: Resource,
        wanted: Option<&str>,
        present: impl AsyncFnOnce() -> Result<BTreeSet<String>, ApiError>,
    ) -> Result<Seen, ApiError> {
        let Self::Known(known) = self else {
            return Ok(Seen::All);
        };
        let of_all = Right::Of(resource, None);
        let words = of_all.to_string();
        let verdict = known.verdict(of_all).await?;
        if verdict.allowed {
            known.tell(&words, &verdict);
            return Ok(Seen::All);
        }
        if let Some(namespace) = wanted {
            let right = Right::Of(resource, Some(namespace.to_owned()));
            self.needs(right).await?;
            return Ok(Seen::Only(BTreeSet::from([namespace.to_owned()])));
        }
        let present = present().await?;
        if present.len() > MAX_NAMESPACES {
            // How many there are is for those who may see them.
            let message =
                "there are too many namespaces to ask about one by one; name one with ?namespace=";
            return Err(ApiError::forbidden(message));
        }
        let seen = known.allowed_of(resource, present).await?;
        let words = format!("{resource} in {}", some_of(&seen));
        let verdict = Verdict {
            allowed: !seen.is_empty(),
            why: String::new(),
        };
        known.tell(&words, &verdict);
        if seen.is_empty() {
            return Err(known.denied(&format!("{resource} in any namespace")));
        }
        Ok(Seen::Only(seen))
    }
}

/// Namespaces for the log; how many more there are than it names.
fn some_of(seen: &BTreeSet<String>) -> String {
    let names: Vec<&str> = seen.iter().map(String::as_str).take(MAX_TOLD).collect();
    let names = match names.as_slice() {
        [] => "any namespace".to_owned(),
        [one] => format!("namespace {one}"),
        some => format!("namespaces {}", some.join(", ")),
    };
    match seen.len().saturating_sub(MAX_TOLD) {
        0 => names,
        more => format!("{names} and {more} more"),
    }
}

/// Names that no namespace has are not asked about, nor remembered.
fn check_namespace(namespace: &str) -> Result<(), ApiError> {
    let is_label = |of: u8| of.is_ascii_lowercase() || of.is_ascii_digit() || of == b'-';
    if namespace.is_empty() || namespace.len() > MAX_NAMESPACE || !namespace.bytes().all(is_label) {
        return Err(ApiError::bad_request(
            "namespace: no namespace has that name",
        ));
    }
    Ok(())
}

impl Known {
    async fn verdict(&self, right: Right) -> Result<Verdict, ApiError> {
        let words = right.to_string();
        let verdict = self.rules.verdict(&self.user, self.hash, right).await;
        if let Err(why) = &verdict
            && let Some(left_out) = self.rules.line(&self.rules.undecided)
        {
            let (user, path, why) = (&self.user.name, &self.path, why.to_string());
            let client = self.client.map(tracing::field::display);
            tracing::warn!(
                ?user,
                client,
                ?path,
                right = words,
                why,
                left_out,
                "access not decided"
            );
        }
        verdict.map_err(|why| match why {
            NoVerdict::Unavailable(_) => {
                self.rules.requests.decide(Decision::Unavailable);
                ApiError::unavailable()
            }
            NoVerdict::Spent(Spent(wait)) => {
                self.rules.requests.decide(Decision::Limited);
                let who = &self.user.name;
                let message = format!("{who} asks for too many namespaces at a time");
                ApiError::too_many(message, wait)
            }
        })
    }

    async fn allowed_of(
        self: &Arc<Self>,
        resource: Resource,
        present: BTreeSet<String>,
    ) -> Result<BTreeSet<String>, ApiError> {
        let (mut asked, mut allowed) = (JoinSet::new(), BTreeSet::new());
        let mut left = present.into_iter();
        loop {
            while asked.len() < NAMESPACES_AT_A_TIME
                && let Some(namespace) = left.next()
            {
                let known = Arc::clone(self);
                asked.spawn(async move {
                    let right = Right::Of(resource, Some(namespace.clone()));
                    let verdict = known.verdict(right).await;
                    verdict.map(|verdict| verdict.allowed.then_some(namespace))
                });
            }
            let Some(answered) = asked.join_next().await else {
                return Ok(allowed);
            };
            allowed.extend(answered.map_err(|error| ApiError::internal(&error))??);
        }
    }

    fn tell(&self, right: &str, verdict: &Verdict) {
        let (user, path, why) = (&self.user.name, &self.path, &verdict.why);
        let client = self.client.map(tracing::field::display);
        if verdict.allowed {
            self.rules.requests.decide(Decision::Allowed);
            tracing::info!(?user, client, ?path, right, ?why, "access allowed");
            return;
        }
        self.rules.requests.decide(Decision::Denied);
        if let Some(left_out) = self.rules.line(&self.rules.denials) {
            tracing::warn!(?user, client, ?path, right, ?why, left_out, "access denied");
        }
    }

    fn denied(&self, right: &str) -> ApiError {
        let message = format!("{} may not {right}", self.user.name);
        ApiError::forbidden(message)
    }
}

/// What is answered to everybody: whether we live, and the style of the page that says no. Who shows a
/// token is known here as well, and gets it in full.
const OPEN: [&str; 3] = ["/livez", "/readyz", crate::dashboard::STYLE_PATH];

/// Finds out who asks, and lets nobody through who is not known.
pub(super) async fn identified(
    State(state): State<Arc<ApiState>>,
    mut request: Request,
    next: Next,
) -> Response {
    let Some(rules) = &state.access else {
        request.extensions_mut().insert(Caller::Anyone);
        return next.run(request).await;
    };
    let path = request.uri().path();
    let shows_token = request.headers().contains_key(header::AUTHORIZATION);
    if OPEN.contains(&path) && !shows_token {
        return next.run(request).await;
    }
    let client = request.extensions().get::<Client>();
    let address = client.map(|client| client.address);
    match rules.identify(request.headers(), client).await {
        Ok(user) => {
            let known = Known {
                rules: Arc::clone(rules),
                hash: hash_of(&user),
                user,
                client: address,
                path: path.to_owned(),
            };
            request
                .extensions_mut()
                .insert(Caller::Known(Arc::new(known)));
            next.run(request).await
        }
        // Who asks how we are is told so, and what others may see is left out.
        Err(Stranger::Unavailable(_) | Stranger::Spent(_)) if OPEN.contains(&path) => {
            next.run(request).await
        }
        Err(why @ (Stranger::Unavailable(_) | Stranger::Spent(_))) => {
            if let Some(left_out) = rules.line(&rules.undecided) {
                let client = address.map(tracing::field::display);
                let why = why.to_string();
                tracing::warn!(client, ?path, why, left_out, "access not decided");
            }
            let Stranger::Spent(Spent(wait)) = why else {
                rules.requests.decide(Decision::Unavailable);
                return ApiError::unavailable().into_response();
            };
            rules.requests.decide(Decision::Limited);
            ApiError::too_many("too many unknown tokens came from this address", wait)
                .into_response()
        }
        Err(why) => {
            rules.requests.decide(Decision::Unauthenticated);
            if let Some(left_out) = rules.line(&rules.strangers) {
                let client = address.map(tracing::field::display);
                let why = why.to_string();
                tracing::warn!(
                    client,
                    ?path,
                    why,
                    left_out,
                    "access denied: nobody is known"
                );
            }
            ApiError::unauthorized(why != Stranger::Nothing).into_response()
        }
    }
}

#[cfg(test)]
mod tests;
