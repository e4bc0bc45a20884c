//! The JSON documents. What takes time is done in [`renders`].

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::Uri;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};

use super::audit::{self, AuditQuery};
use super::error::{NoQuery, query};
use super::{ApiError, ApiState, NodeStatus, renders};
use crate::inventory::Selector;
use crate::sizing::rfc3339;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SizingQuery {
    namespace: Option<String>,
    selector: Option<String>,
}

pub(super) async fn sizing(
    State(state): State<Arc<ApiState>>,
    uri: Uri,
) -> Result<Response, ApiError> {
    let wanted: SizingQuery = query(&uri)?;
    let selector = Selector::parse(wanted.selector.as_deref().unwrap_or_default())
        .map_err(|error| ApiError::bad_request(format!("selector: {error}")))?;
    renders::page(state, move |state| {
        let mut report = state.view().report.clone();
        report.recommendations.retain(|found| {
            wanted
                .namespace
                .as_ref()
                .is_none_or(|namespace| *namespace == found.namespace)
                && selector.matches(&found.labels)
        });
        if wanted.namespace.is_some() || wanted.selector.is_some() {
            report.hosts.clear();
        }
        Ok(Json(report).into_response())
    })
    .await
}

pub(super) async fn sizing_of_workload(
    State(state): State<Arc<ApiState>>,
    Path((namespace, kind, name)): Path<(String, String, String)>,
    uri: Uri,
) -> Result<Response, ApiError> {
    let NoQuery {} = query(&uri)?;
    renders::page(state, move |state| {
        let mut report = state.view().report.clone();
        report.unnamed.clear();
        report.hosts.clear();
        report.recommendations.retain(|found| {
            found.namespace == namespace
                && found.kind.eq_ignore_ascii_case(&kind)
                && found.workload == name
        });
        if report.recommendations.is_empty() {
            return Err(ApiError::not_found(format!(
                "no container of {kind} {namespace}/{name} was observed"
            )));
        }
        Ok(Json(report).into_response())
    })
    .await
}

pub(super) async fn audit(
    State(state): State<Arc<ApiState>>,
    uri: Uri,
) -> Result<Response, ApiError> {
    let wanted: AuditQuery = query(&uri)?;
    renders::page(state, move |state| {
        let now = (state.now)();
        let page = state
            .audit
            .page(&wanted, now)
            .map_err(|error| ApiError::bad_request(error.to_string()))?;
        Ok(Json(audit::document(&page, now)).into_response())
    })
    .await
}

pub(super) async fn accounting(
    State(state): State<Arc<ApiState>>,
    uri: Uri,
) -> Result<Response, ApiError> {
    let NoQuery {} = query(&uri)?;
    renders::page(state, |state| Ok(Json(state.accounting()).into_response())).await
}

pub(super) async fn nodes(
    State(state): State<Arc<ApiState>>,
    uri: Uri,
) -> Result<Response, ApiError> {
    let NoQuery {} = query(&uri)?;
    renders::page(state, |state| {
        let now = (state.now)();
        let node = |status: NodeStatus| {
            json!({
                "node": status.node,
                "last_seen": rfc3339(status.heard_unix_ns),
                "two_agents": status.has_two_agents(now),
                "heartbeat": status.heartbeat,
            })
        };
        let nodes: Vec<Value> = state.audit.nodes().into_iter().map(node).collect();
        let document =
            json!({ "schema": "plimsoll.nodes/v1", "as_of": rfc3339(now), "nodes": nodes });
        Ok(Json(document).into_response())
    })
    .await
}
