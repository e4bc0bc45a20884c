//! Errors as the API shows them: a status, and JSON that says what was wrong; a page for browsers.

use std::time::Duration;

use axum::Json;
use axum::extract::{Query, Request};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use crate::dashboard;

/// An answer that is an error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiError {
    status: StatusCode,
    message: String,
    retry_after_s: Option<u64>,
}

impl ApiError {
    fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self {
            status,
            message: message.into(),
            retry_after_s: None,
        }
    }

    /// 400: the request cannot be understood.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    /// 404.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, message)
    }

    /// 405.
    pub fn method() -> Self {
        let message = "this address answers GET and HEAD only";
        Self::new(StatusCode::METHOD_NOT_ALLOWED, message)
    }

    /// 401: nobody is known; what was `shown` counts for nothing.
    pub fn unauthorized(shown: bool) -> Self {
        let message = if shown {
            "the token or certificate that was shown counts for nothing here"
        } else {
            "show a bearer token of the Kubernetes API server, or a client certificate"
        };
        Self::new(StatusCode::UNAUTHORIZED, message)
    }

    /// 403: a right is missing.
    pub fn forbidden(message: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, message)
    }

    /// 503: nobody can say who somebody is, or what they may. Why is for the log, not for strangers.
    pub fn unavailable() -> Self {
        let message =
            "the API server does not say now who may see this; the collector's log says why";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, message)
    }

    /// 429: it is not this one's turn; it is after that time.
    pub fn too_many(message: impl Into<String>, wait: Duration) -> Self {
        // Whole seconds, and none too few.
        let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        Self {
            retry_after_s: Some(seconds.max(1)),
            ..Self::new(StatusCode::TOO_MANY_REQUESTS, message)
        }
    }

    /// 421: the host name is not ours.
    pub fn misdirected() -> Self {
        let message = "this address answers to localhost, 127.0.0.1 and [::1] only";
        Self::new(StatusCode::MISDIRECTED_REQUEST, message)
    }

    /// 500.
    pub fn internal(error: &dyn std::error::Error) -> Self {
        let message = format!("computing the answer: {error}");
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, message)
    }
}

impl ApiError {
    fn headers(&self) -> HeaderMap {
        let after = self.retry_after_s.map(HeaderValue::from);
        after
            .map(|after| (header::RETRY_AFTER, after))
            .into_iter()
            .collect()
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let body = json!({ "error": { "status": self.status.as_u16(), "message": self.message } });
        let mut response = (self.status, self.headers(), Json(body)).into_response();
        response.extensions_mut().insert(self);
        response
    }
}

/// Shows an error as a page to who asked for one; documents below `/api/` stay what they are.
pub(super) async fn shown(request: Request, next: Next) -> Response {
    let accept = request.headers().get(header::ACCEPT);
    let html = accept.is_some_and(|accept| {
        let accept = accept.to_str().unwrap_or_default();
        accept.contains("text/html") && !request.uri().path().starts_with("/api/")
    });
    let response = next.run(request).await;
    match response.extensions().get::<ApiError>() {
        Some(error) if html => {
            let page = dashboard::problem(error.status.as_u16(), &error.message);
            let headers = error.headers();
            (error.status, headers, super::pages::page(page)).into_response()
        }
        _ => response,
    }
}

/// The query of an address that takes none.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NoQuery {}

/// Parameters of a query; an unknown one is an error that names it.
pub(super) fn query<T: DeserializeOwned>(uri: &Uri) -> Result<T, ApiError> {
    Query::<T>::try_from_uri(uri)
        .map(|Query(query)| query)
        .map_err(|rejection| {
            let mut cause: &dyn std::error::Error = &rejection;
            while let Some(deeper) = cause.source() {
                cause = deeper;
            }
            ApiError::bad_request(format!("query parameters: {cause}"))
        })
}
