//! Whose a bearer token is: what is asked of the API server, and what its answer means. Pure.
//!
//! A refused token is an answer like any other, with status 201: `authenticated` is left out then, and
//! `error` may say why (authentication.k8s.io/v1, `TokenReviewStatus`).

use std::collections::BTreeMap;

use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec, TokenReviewStatus};
use plimsoll_wire::record;

use super::jwt;
use crate::ingest::dedupe::OWN_NODE;

/// Longest token that is asked about; that of a service account has a kibibyte or two.
pub const MAX_TOKEN_BYTES: usize = 8 << 10;
/// Characters of the API server's words that are repeated.
const MAX_WHY: usize = 200;

/// Claims of a service account's token that the API server hands on (`KEP-4193`).
const NODE_NAME: &str = "authentication.kubernetes.io/node-name";
const POD_UID: &str = "authentication.kubernetes.io/pod-uid";
/// What user names of service accounts begin with.
const SERVICE_ACCOUNT: &str = "system:serviceaccount:";

/// Somebody whom the API server knows, or who shows a certificate of ours.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct User {
    /// Name.
    pub name: String,
    /// Tells two users of one name apart; `None` where there is none.
    pub uid: Option<String>,
    /// Groups.
    pub groups: Vec<String>,
    /// What else is known; authorisers may look at it.
    pub extra: BTreeMap<String, Vec<String>>,
}

/// What a sender's token is bound to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sender {
    /// To this node, or to a pod on it.
    Node(String),
    /// To the pod with this UID. API servers say on which node it is from 1.32 on, 1.30 and 1.31 where the
    /// feature gate `ServiceAccountTokenPodNodeInfo` is as it comes; others leave it out.
    Pod(String),
}

/// Why a token counts for nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It is empty, too long, or has characters that no token has: it is not asked about.
    #[error("it is no token")]
    NoToken,
    /// The API server does not know it; in its own words.
    #[error("the API server refuses it: {0}")]
    NotAuthenticated(String),
    /// The answer does not say that it is meant for us.
    #[error("it is for another audience")]
    Audience,
    /// The answer names nobody.
    #[error("it is nobody's")]
    Nobody,
    /// It is another one's than those that may send.
    #[error("{0:?} is not in ingest.token_review.service_accounts")]
    ServiceAccount(String),
    /// It is bound to no node and to no pod, or not to exactly one: anybody on any node may have it.
    #[error("it is not bound to one node or pod")]
    Unbound,
}

/// A token as a header may hold it (RFC 6750, section 2.1, `b64token`).
pub fn is_token(token: &str) -> bool {
    let of_token = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte);
    !token.is_empty() && token.len() <= MAX_TOKEN_BYTES && token.bytes().all(of_token)
}

/// The token in an `authorization` header.
pub fn bearer(header: &str) -> Option<&str> {
    // The scheme's name is in any case (RFC 9110, section 11.1), and so is it used.
    let (scheme, token) = header.split_once(' ')?;
    scheme
        .eq_ignore_ascii_case("Bearer")
        .then_some(token.trim())
}

/// The question; `audience` is `None` for tokens that are meant for the API server itself.
pub fn prepare(token: &str, audience: Option<&str>) -> Result<TokenReview, Refused> {
    if !is_token(token) {
        return Err(Refused::NoToken);
    }
    Ok(TokenReview {
        spec: TokenReviewSpec {
            audiences: audience.map(|audience| vec![audience.to_owned()]),
            token: Some(token.to_owned()),
        },
        ..TokenReview::default()
    })
}

/// Whose the token is that was asked about with this `audience`.
pub fn interpret(answer: &TokenReviewStatus, audience: Option<&str>) -> Result<User, Refused> {
    let error = answer.error.as_deref().filter(|error| !error.is_empty());
    if answer.authenticated != Some(true) || error.is_some() {
        let why = error.unwrap_or("not authenticated");
        return Err(Refused::NotAuthenticated(
            why.chars().take(MAX_WHY).collect(),
        ));
    }
    let said = answer.audiences.as_deref().unwrap_or_default();
    // A server that knows no audiences leaves them out, and has not looked at ours.
    if audience.is_some_and(|ours| !said.iter().any(|said| said == ours)) {
        return Err(Refused::Audience);
    }
    let user = answer.user.as_ref().ok_or(Refused::Nobody)?;
    let name = user.username.clone().unwrap_or_default();
    if name.is_empty() {
        return Err(Refused::Nobody);
    }
    Ok(User {
        name,
        uid: user.uid.clone().filter(|uid| !uid.is_empty()),
        groups: user.groups.clone().unwrap_or_default(),
        extra: user.extra.clone().unwrap_or_default(),
    })
}

/// Where the sender is, if it is one of the service accounts (`NAMESPACE/NAME`) that may send.
pub fn sender(user: &User, service_accounts: &[String]) -> Result<Sender, Refused> {
    let account = user.name.strip_prefix(SERVICE_ACCOUNT);
    let account = account.and_then(|account| account.split_once(':'));
    let may_send = account.is_some_and(|(namespace, name)| {
        let mut allowed = service_accounts.iter();
        allowed.any(|allowed| allowed.split_once('/') == Some((namespace, name)))
    });
    if !may_send {
        let name = user.name.chars().take(MAX_WHY).collect();
        return Err(Refused::ServiceAccount(name));
    }
    let values = |key: &str| user.extra.get(key).map(Vec::as_slice);
    match (values(NODE_NAME), values(POD_UID)) {
        (Some([node]), _) if record::is_node_name(node) && node != OWN_NODE => {
            Ok(Sender::Node(node.clone()))
        }
        (None, Some([uid])) if !uid.is_empty() => Ok(Sender::Pod(uid.clone())),
        _ => Err(Refused::Unbound),
    }
}

/// When it ends by its own word, Unix seconds. Only of a token that the API server knows.
pub fn expires_unix_s(token: &str) -> Option<u64> {
    jwt::expires_unix_s(token)
}

#[cfg(test)]
mod tests;
