//! Headers: which requests are meant for us, and what every answer carries.
//!
//! Pages hold no script and load nothing but our style sheet. There are no cookies: what a browser adds
//! to a request by itself is a client certificate at the most, so requests that another site has it make
//! are refused, and nothing can be changed by any.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::{ApiError, ApiState};

/// Nothing but our own style sheet may load, nobody may frame us.
const POLICY: &str = "default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";
/// A year; only where TLS is done.
const ALWAYS_TLS: &str = "max-age=31536000";

/// Refuses requests that were not meant for this address, see [`ApiState::with_any_host`], or that
/// another site makes.
pub(super) async fn addressed(
    State(state): State<Arc<ApiState>>,
    request: Request,
    next: Next,
) -> Response {
    let headers = request.headers();
    let host = headers
        .get(header::HOST)
        .and_then(|host| host.to_str().ok());
    if ![Method::GET, Method::HEAD].contains(request.method()) {
        return ApiError::method().into_response();
    }
    // HTTP/1.0 probes have no Host; a browser always has one. With rules it has to show who asks.
    let any_host = state.any_host || state.access.is_some();
    if !any_host && !host.is_none_or(is_loopback) {
        return ApiError::misdirected().into_response();
    }
    if is_of_another_site(headers, host, request.uri().path()) {
        return ApiError::forbidden("another site made this request").into_response();
    }
    next.run(request).await
}

/// `localhost`, `127.0.0.1`, `[::1]`, with or without a port.
fn is_loopback(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    };
    ["localhost", "127.0.0.1", "[::1]"].contains(&name)
}

/// What a browser says of who makes a request (fetch metadata, and the origin). A link that somebody
/// follows to a page is fine: that the page is shown tells the other site nothing. No page of ours asks
/// for anything by script, so that an origin can only be another one's or our form's.
fn is_of_another_site(headers: &HeaderMap, host: Option<&str>, path: &str) -> bool {
    let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
    if let Some(origin) = text("origin") {
        let site = origin.split_once("://").map(|(_, site)| site);
        if site.is_none() || site != host {
            return true;
        }
    }
    let is_link = text("sec-fetch-mode") == Some("navigate")
        && text("sec-fetch-dest") == Some("document")
        && !path.starts_with("/api/");
    match text("sec-fetch-site") {
        None | Some("same-origin" | "none") => false,
        Some(_) => !is_link,
    }
}

/// Headers of every answer; nothing is kept by caches unless a route said otherwise.
pub(super) async fn secured(
    State(state): State<Arc<ApiState>>,
    mut response: Response,
) -> Response {
    let status = response.status();
    let headers = response.headers_mut();
    let always = [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "no-referrer"),
        (
            HeaderName::from_static("cross-origin-opener-policy"),
            "same-origin",
        ),
        (
            HeaderName::from_static("cross-origin-resource-policy"),
            "same-origin",
        ),
    ];
    let sometimes = [
        (state.is_tls, header::STRICT_TRANSPORT_SECURITY, ALWAYS_TLS),
        (
            status == StatusCode::UNAUTHORIZED,
            header::WWW_AUTHENTICATE,
            "Bearer realm=\"plimsoll\"",
        ),
        (
            status == StatusCode::METHOD_NOT_ALLOWED,
            header::ALLOW,
            "GET, HEAD",
        ),
    ];
    let sometimes = sometimes.into_iter().filter(|(is_so, ..)| *is_so);
    let sometimes = sometimes.map(|(_, name, value)| (name, value));
    for (name, value) in always.into_iter().chain(sometimes) {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers
        .entry(header::CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(path: &str, given: &[(&'static str, &'static str)], refused: bool) {
        let named = given.iter().map(|(name, value)| {
            (
                HeaderName::from_static(name),
                HeaderValue::from_static(value),
            )
        });
        let is_other = is_of_another_site(&named.collect(), Some("plimsoll.ops:8443"), path);
        assert_eq!(is_other, refused, "{path} {given:?}");
    }

    #[test]
    fn another_site_makes_no_request_of_ours() {
        check("/", &[], false);
        for (site, refused) in [
            ("same-origin", false),
            ("none", false),
            ("same-site", true),
            ("cross-site", true),
            ("what", true),
        ] {
            check("/", &[("sec-fetch-site", site)], refused);
        }
        let link = |dest| {
            [
                ("sec-fetch-site", "cross-site"),
                ("sec-fetch-mode", "navigate"),
                ("sec-fetch-dest", dest),
            ]
        };
        check("/audit", &link("document"), false);
        check("/audit", &link("iframe"), true);
        check("/api/v1/audit", &link("document"), true);
        for (origin, refused) in [
            ("https://plimsoll.ops:8443", false),
            ("https://plimsoll.ops", true),
            ("https://attacker.example", true),
            ("null", true),
        ] {
            check("/", &[("origin", origin)], refused);
        }
    }
}
