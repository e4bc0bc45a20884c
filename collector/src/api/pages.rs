//! The dashboard's routes: fetch what a page shows, hand it to the page; both in [`renders`].

use std::borrow::Cow;
use std::sync::Arc;

use axum::Extension;
use axum::extract::{Path, State};
use axum::http::{StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use maud::Markup;

use super::access::{Caller, Seen};
use super::audit::AuditQuery;
use super::document::{seen_audit, seen_sizing, show};
use super::error::{NoQuery, query};
use super::{ApiError, ApiState, renders};
use crate::cluster::access::{Resource, Right};
use crate::dashboard::{self, OverviewQuery};

/// Pages are rendered to bytes here: one content type, one place.
pub(super) fn page(markup: Markup) -> Response {
    (
        [(header::CONTENT_TYPE, "text/html; charset=utf-8")],
        markup.into_string(),
    )
        .into_response()
}

pub(super) async fn overview(
    State(state): State<Arc<ApiState>>,
    Extension(caller): Extension<Caller>,
    uri: Uri,
) -> Result<Response, ApiError> {
    let wanted: OverviewQuery = query(&uri)?;
    let seen = seen_sizing(&caller, &state, wanted.namespace()).await?;
    let of_all = caller.may(Right::Of(Resource::Audit, None)).await?;
    renders::page(state, move |state| {
        let view = state.view();
        let mut report = Cow::Borrowed(&view.report);
        if seen != Seen::All {
            show(report.to_mut(), &seen);
        }
        let nodes = seen.has(None).then(|| state.audit.nodes());
        let accounting = of_all.then(|| state.accounting());
        let data = dashboard::OverviewData {
            report: &report,
            nodes: nodes.as_deref(),
            accounting: accounting.as_ref(),
        };
        // As on the audit page.
        let status = if wanted.problem().is_some() {
            StatusCode::BAD_REQUEST
        } else {
            StatusCode::OK
        };
        Ok((status, page(dashboard::overview(&data, &wanted))).into_response())
    })
    .await
}

pub(super) async fn workload(
    State(state): State<Arc<ApiState>>,
    Extension(caller): Extension<Caller>,
    Path((namespace, kind, name)): Path<(String, String, String)>,
    uri: Uri,
) -> Result<Response, ApiError> {
    let NoQuery {} = query(&uri)?;
    let right = Right::Of(Resource::Sizing, Some(namespace.clone()));
    caller.needs(right).await?;
    renders::page(state, move |state| {
        let view = state.view();
        let containers: Vec<_> = view.fleet.workload(&namespace, &kind, &name).collect();
        if containers.is_empty() {
            let markup = dashboard::missing(&format!(
                "No container of {kind} {namespace}/{name} was observed."
            ));
            return Ok((StatusCode::NOT_FOUND, page(markup)).into_response());
        }
        Ok(page(dashboard::workload(&containers, &view.report.as_of)))
    })
    .await
}

pub(super) async fn audit(
    State(state): State<Arc<ApiState>>,
    Extension(caller): Extension<Caller>,
    uri: Uri,
) -> Result<Response, ApiError> {
    let mut wanted = query::<AuditQuery>(&uri)?.of_form();
    // The picture counts more than the rows that fit.
    wanted.limit = Some(super::audit::MAX_LIMIT);
    let seen = seen_audit(&caller, &state, wanted.namespace()).await?;
    renders::page(state, move |state| {
        let now = (state.now)();
        let found = state.audit.query(&wanted, &seen, now);
        // The page says what is wrong and keeps what was asked, to be put right there.
        let status = found
            .as_ref()
            .map_or(StatusCode::BAD_REQUEST, |_| StatusCode::OK);
        let shown = match &found {
            Ok((found, more)) => Ok((found.as_slice(), *more)),
            Err(error) => Err(error.to_string()),
        };
        Ok((status, page(dashboard::audit(&wanted, shown, now))).into_response())
    })
    .await
}

pub(super) async fn nodes(
    State(state): State<Arc<ApiState>>,
    Extension(caller): Extension<Caller>,
    uri: Uri,
) -> Result<Response, ApiError> {
    let NoQuery {} = query(&uri)?;
    caller.needs(Right::Of(Resource::Sizing, None)).await?;
    caller.needs(Right::Of(Resource::Audit, None)).await?;
    renders::page(state, |state| {
        Ok(page(dashboard::nodes(
            &state.audit.nodes(),
            &state.accounting(),
            (state.now)(),
        )))
    })
    .await
}

pub(super) async fn style() -> Response {
    let headers = [
        (header::CONTENT_TYPE, "text/css; charset=utf-8"),
        (header::CACHE_CONTROL, "public, max-age=300"),
    ];
    (headers, dashboard::STYLE).into_response()
}
