//! The JSON documents. What takes time is done in [`renders`].

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::Uri;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use serde::Deserialize;
use serde_json::{Value, json};

use super::access::{Caller, Seen};
use super::audit::{self, AuditQuery};
use super::chain::MAX_LINKS;
use super::error::{NoQuery, query};
use super::{ApiError, ApiState, NodeStatus, renders};
use crate::cluster::access::{Resource, Right};
use crate::inventory::Selector;
use crate::sizing::{Report, rfc3339};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SizingQuery {
    namespace: Option<String>,
    selector: Option<String>,
}

/// Leaves what somebody may see.
pub(super) fn show(report: &mut Report, seen: &Seen) {
    report
        .recommendations
        .retain(|found| seen.has(Some(&found.namespace)));
    report
        .unnamed
        .retain(|found| seen.has(found.namespace.as_deref()));
    report.hosts.retain(|_| seen.has(None));
}

/// Namespaces that something in the report is of.
pub(super) fn namespaces(report: &Report) -> BTreeSet<String> {
    let named = report.recommendations.iter().map(|found| &found.namespace);
    let unnamed = report.unnamed.iter();
    let unnamed = unnamed.filter_map(|found| found.namespace.as_ref());
    named.chain(unnamed).cloned().collect()
}

/// Which of them the caller sees.
pub(super) async fn seen_sizing(
    caller: &Caller,
    state: &Arc<ApiState>,
    wanted: Option<&str>,
) -> Result<Seen, ApiError> {
    let present = async || {
        let state = Arc::clone(state);
        renders::page(state, |state| Ok(namespaces(&state.view().report))).await
    };
    caller.sees(Resource::Sizing, wanted, present).await
}

/// The same of audit events.
pub(super) async fn seen_audit(
    caller: &Caller,
    state: &Arc<ApiState>,
    wanted: Option<&str>,
) -> Result<Seen, ApiError> {
    let present = async || {
        let state = Arc::clone(state);
        renders::page(state, |state| Ok(state.audit.namespaces())).await
    };
    caller.sees(Resource::Audit, wanted, present).await
}

pub(super) async fn sizing(
    State(state): State<Arc<ApiState>>,
    Extension(caller): Extension<Caller>,
    uri: Uri,
) -> Result<Response, ApiError> {
    let wanted: SizingQuery = query(&uri)?;
    let selector = Selector::parse(wanted.selector.as_deref().unwrap_or_default())
        .map_err(|error| ApiError::bad_request(format!("selector: {error}")))?;
    for (name, given) in [
        ("namespace", &wanted.namespace),
        ("selector", &wanted.selector),
    ] {
        // As often as not a variable that was not set: not to be answered with everything.
        if given.as_ref().is_some_and(|text| text.trim().is_empty()) {
            let message = format!("{name}: it is empty; without it all are meant");
            return Err(ApiError::bad_request(message));
        }
    }
    let seen = seen_sizing(&caller, &state, wanted.namespace.as_deref()).await?;
    renders::page(state, move |state| {
        let mut report = state.view().report.clone();
        show(&mut report, &seen);
        narrow(&mut report, &wanted, &selector);
        Ok(Json(report).into_response())
    })
    .await
}

/// Leaves what was asked for. Labels are known only of what has a name; of some containers without one
/// the namespace is, and the others may be of any.
fn narrow(report: &mut Report, wanted: &SizingQuery, selector: &Selector) {
    let is_of = |namespace: &str| wanted.namespace.as_deref().is_none_or(|of| of == namespace);
    report
        .recommendations
        .retain(|found| is_of(&found.namespace) && selector.matches(&found.labels));
    report
        .unnamed
        .retain(|found| wanted.selector.is_none() && found.namespace.as_deref().is_none_or(is_of));
    if wanted.namespace.is_some() || wanted.selector.is_some() {
        report.hosts.clear();
    }
}

pub(super) async fn sizing_of_workload(
    State(state): State<Arc<ApiState>>,
    Extension(caller): Extension<Caller>,
    Path((namespace, kind, name)): Path<(String, String, String)>,
    uri: Uri,
) -> Result<Response, ApiError> {
    let NoQuery {} = query(&uri)?;
    let right = Right::Of(Resource::Sizing, Some(namespace.clone()));
    caller.needs(right).await?;
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
    Extension(caller): Extension<Caller>,
    uri: Uri,
) -> Result<Response, ApiError> {
    let wanted: AuditQuery = query(&uri)?;
    let seen = seen_audit(&caller, &state, wanted.namespace()).await?;
    renders::page(state, move |state| {
        let now = (state.now)();
        let page = state
            .audit
            .page(&wanted, &seen, now)
            .map_err(|error| ApiError::bad_request(error.to_string()))?;
        Ok(Json(audit::document(&page, now)).into_response())
    })
    .await
}

pub(super) async fn accounting(
    State(state): State<Arc<ApiState>>,
    Extension(caller): Extension<Caller>,
    uri: Uri,
) -> Result<Response, ApiError> {
    let NoQuery {} = query(&uri)?;
    caller.needs(Right::Of(Resource::Audit, None)).await?;
    renders::page(state, |state| Ok(Json(state.accounting()).into_response())).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ChainQuery {
    links: Option<usize>,
}

pub(super) async fn chain(
    State(state): State<Arc<ApiState>>,
    Extension(caller): Extension<Caller>,
    uri: Uri,
) -> Result<Response, ApiError> {
    let wanted: ChainQuery = query(&uri)?;
    let links = wanted.links.unwrap_or(0);
    if links > MAX_LINKS {
        let message = format!("links: {MAX_LINKS} at the most");
        return Err(ApiError::bad_request(message));
    }
    // Its links are events of all namespaces.
    caller.needs(Right::Of(Resource::Audit, None)).await?;
    renders::page(state, move |state| {
        Ok(Json(state.chain(links)).into_response())
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sizing::Unnamed;

    fn nameless(namespace: Option<&str>) -> Unnamed {
        Unnamed {
            namespace: namespace.map(str::to_owned),
            pod: None,
            pod_uid: None,
            container_id: None,
            node: "n".to_owned(),
            windows: 1,
            cpu_seconds: crate::sizing::Quantiles::default(),
            memory_peak_bytes: None,
        }
    }

    /// Namespaces of the nameless containers that are left of these.
    #[track_caller]
    fn check(namespace: Option<&str>, selector: Option<&str>, expected: &[Option<&str>]) {
        let mut report = crate::sizing::report(&crate::history::Fleet::default(), 0);
        report.unnamed = [Some("shop"), Some("kube-system"), None]
            .map(nameless)
            .to_vec();
        let wanted = SizingQuery {
            namespace: namespace.map(str::to_owned),
            selector: selector.map(str::to_owned),
        };
        let selector = Selector::parse(selector.unwrap_or_default()).unwrap();
        narrow(&mut report, &wanted, &selector);
        let left: Vec<_> = report
            .unnamed
            .iter()
            .map(|u| u.namespace.as_deref())
            .collect();
        assert_eq!(left, expected);
    }

    #[test]
    fn who_sees_one_namespace_sees_nothing_that_is_in_none_or_another() {
        let mut report = crate::sizing::report(&crate::history::Fleet::default(), 0);
        report.unnamed = [Some("shop"), Some("kube-system"), None]
            .map(nameless)
            .to_vec();
        report.hosts.push(crate::sizing::Host {
            node: "n".to_owned(),
            unit: "kubelet.service".to_owned(),
            windows: 1,
            cpu_seconds: crate::sizing::Quantiles::default(),
            memory_peak_bytes: None,
        });
        let all = report.clone();
        show(&mut report, &Seen::All);
        assert_eq!(report, all);
        let both = ["kube-system".to_owned(), "shop".to_owned()];
        assert_eq!(namespaces(&report), both.into());
        show(&mut report, &Seen::Only(["shop".to_owned()].into()));
        assert_eq!(namespaces(&report), ["shop".to_owned()].into());
        assert_eq!((report.unnamed.len(), report.hosts.len()), (1, 0));
    }

    #[test]
    fn a_namespace_has_no_nameless_containers_of_others() {
        check(None, None, &[Some("shop"), Some("kube-system"), None]);
        check(Some("shop"), None, &[Some("shop"), None]);
        check(None, Some("app=web"), &[]);
        check(Some("shop"), Some("app=web"), &[]);
    }
}
