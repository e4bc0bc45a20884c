#![expect(
    clippy::disallowed_methods,
    reason = "shell: answers are made by tasks of the server's runtime, late if scripted"
)]
//! One call from its head to its answer: recorded, met by a fault or not, authenticated, allowed
//! and served.

use std::io;
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, Method, Response, header};
use hyper::body::Incoming;

use super::catalog::{Resource, Target};
use super::connection::Socket;
use super::fault::Fault;
use super::forward;
use super::identity::{API_AUDIENCE, User, authenticate};
use super::list::{self, List};
use super::out::{Out, Separator};
use super::query::{Form, ListOptions, Query, WatchOptions, form, wants_aggregated};
use super::review::review;
use super::status::{self, Canned};
use super::store::Name;
use super::watch::Watch;
use super::{Request, Shared, State};

/// Bytes of a body that are taken.
const BODY_AT_MOST: usize = 3 * 1024 * 1024;

/// What a call asks.
struct Asked {
    method: Method,
    path: String,
    query: String,
    accept: String,
    agent: String,
    bearer: Option<String>,
    /// Whom a certificate names.
    shown: Option<User>,
    body: Bytes,
}

enum Answer {
    Canned(Canned),
    List(List),
    Watch(Box<Watch>),
}

impl From<Canned> for Answer {
    fn from(canned: Canned) -> Self {
        Self::Canned(canned)
    }
}

pub(super) async fn answer(
    shared: Arc<Shared>,
    socket: Socket,
    request: axum::http::Request<Incoming>,
) -> io::Result<Response<Body>> {
    if let Some(answer) = forwarded(&shared, &request) {
        return Ok(match answer {
            Ok((port, to)) => forward::forward(request, port, to),
            Err(refusal) => respond(shared, socket, refusal.into(), None),
        });
    }
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(Body::new(body), BODY_AT_MOST).await;
    let text = |name| text_of(&parts.headers, name);
    let asked = Asked {
        method: parts.method.clone(),
        path: parts.uri.path().to_owned(),
        query: parts.uri.query().unwrap_or_default().to_owned(),
        accept: text(header::ACCEPT),
        agent: text(header::USER_AGENT),
        bearer: text(header::AUTHORIZATION)
            .strip_prefix("Bearer ")
            .map(str::to_owned),
        shown: parts.extensions.get().cloned(),
        body: body.as_ref().cloned().unwrap_or_default(),
    };
    let target = shared.state().catalog.target(&asked.path);
    let watch = watch_of(&asked, &target);
    let fault = shared.state().script.next(&asked.path, watch);
    let at = record(&shared, &asked, watch);
    if let Some(Fault::Late(time)) = fault {
        tokio::time::sleep(time).await;
    }
    if let Some(Fault::Held) = fault {
        let mut released = shared.released.subscribe();
        drop(released.wait_for(|released| *released).await);
    }
    let answer = match &fault {
        Some(Fault::Hang) => return std::future::pending().await,
        Some(Fault::ResetAtOnce) => {
            socket.reset_when_closed();
            return Err(io::Error::other("scripted"));
        }
        Some(Fault::Answer(canned)) => canned.clone().into(),
        _ if body.is_err() => status::too_large().into(),
        _ => decide(&shared, &asked, target, at),
    };
    let status = match &answer {
        Answer::Canned(canned) => canned.status,
        _ => 200,
    };
    if let Some(request) = shared.state().requests.get_mut(at) {
        request.status = status;
    }
    let fault =
        fault.filter(|fault| !matches!(fault, Fault::Answer(_) | Fault::Late(_) | Fault::Held));
    Ok(respond(shared, socket, answer, fault))
}

/// Where a port-forward leads to, or why it does not; `None` of what is none.
fn forwarded(
    shared: &Shared,
    request: &axum::http::Request<Incoming>,
) -> Option<Result<(u16, std::net::SocketAddr), Canned>> {
    let (namespace, pod) = forward::pod_of(request.uri().path())?;
    let text = |name| text_of(request.headers(), name);
    let asked = Asked {
        method: request.method().clone(),
        path: request.uri().path().to_owned(),
        query: request.uri().query().unwrap_or_default().to_owned(),
        accept: text(header::ACCEPT),
        agent: text(header::USER_AGENT),
        bearer: text(header::AUTHORIZATION)
            .strip_prefix("Bearer ")
            .map(str::to_owned),
        shown: request.extensions().get().cloned(),
        body: Bytes::new(),
    };
    record(shared, &asked, None);
    Some(caller(shared, &asked).and_then(|user| {
        // A forward over a WebSocket is a `get` for servers before 1.35, and a `create` since.
        let outside = ["get", "create"].iter().any(|verb| {
            let state = shared.state();
            is_outside(&state, &user, "", "pods/portforward", verb)
        });
        if outside {
            let refusal = status::forbidden_path(&user.name, "create", &asked.path);
            return Err(unexpected(shared, &asked, refusal));
        }
        let state = shared.state();
        if user == User::anonymous() || state.denied_paths.contains(&asked.path) {
            return Err(status::forbidden_path(&user.name, "create", &asked.path));
        }
        let to = state.forwards.get(&(namespace, pod)).copied();
        to.ok_or_else(status::no_such_resource)
    }))
}

fn text_of(headers: &HeaderMap, name: header::HeaderName) -> String {
    let values = headers.get_all(name);
    let texts: Vec<_> = values.iter().filter_map(|v| v.to_str().ok()).collect();
    texts.join(", ")
}

/// Whether the call is a watch; `None`: neither list nor watch.
fn watch_of(asked: &Asked, target: &Target) -> Option<bool> {
    let lists = asked.method == Method::GET && matches!(target, Target::Collection { .. });
    lists.then(|| Query::parse(&asked.query).is_watch())
}

/// Its index among the requests.
fn record(shared: &Shared, asked: &Asked, watch: Option<bool>) -> usize {
    let mut state = shared.state();
    state.requests.push(Request {
        at: shared.begin.elapsed(),
        method: asked.method.to_string(),
        path: asked.path.clone(),
        query: asked.query.clone(),
        watch,
        user: String::new(),
        agent: asked.agent.clone(),
        accept: asked.accept.clone(),
        body: String::from_utf8_lossy(&asked.body).into_owned(),
        status: 0,
    });
    state.requests.len() - 1
}

fn decide(shared: &Shared, asked: &Asked, target: Target, at: usize) -> Answer {
    let user = match caller(shared, asked) {
        Ok(user) => user,
        Err(refusal) => return refusal.into(),
    };
    if let Some(request) = shared.state().requests.get_mut(at) {
        request.user.clone_from(&user.name);
    }
    if let Some(refusal) = refused(shared, asked, &target, &user) {
        return refusal.into();
    }
    let found = match &target {
        Target::Review(plural) => reviewed(shared, asked, plural, &user),
        _ if asked.method != Method::GET => unexpected(shared, asked, status::method_not_allowed()),
        Target::Document(path) => document(shared, asked, path),
        Target::Health => Canned::text(200, "ok"),
        Target::Stale => status::stale_api(),
        Target::UnknownGroup | Target::Other => unexpected(shared, asked, status::no_such_group()),
        Target::UnknownResource => unexpected(shared, asked, status::no_such_resource()),
        Target::Collection { .. } | Target::Object { .. } => return objects(shared, asked, target),
    };
    found.into()
}

fn objects(shared: &Shared, asked: &Asked, target: Target) -> Answer {
    let Some(form) = form(&asked.accept) else {
        return unexpected(shared, asked, status::not_acceptable()).into();
    };
    let (Target::Collection {
        resource: index, ..
    }
    | Target::Object {
        resource: index, ..
    }) = target
    else {
        return status::no_such_resource().into();
    };
    let Some(resource) = shared.state().catalog.get(index).cloned() else {
        return status::no_such_resource().into();
    };
    let made = match target {
        Target::Object {
            namespace, name, ..
        } => Ok(list::get(shared, (index, &resource), &namespace, &name, form).into()),
        Target::Collection { namespace, .. } => {
            collection(shared, asked, (index, resource), namespace, form)
        }
        _ => Err(status::no_such_resource()),
    };
    made.unwrap_or_else(Answer::from)
}

fn collection(
    shared: &Shared,
    asked: &Asked,
    (index, resource): (usize, Resource),
    namespace: Option<String>,
    form: Form,
) -> Result<Answer, Canned> {
    let query = Query::parse(&asked.query);
    if !query.is_watch() {
        let options = ListOptions::parse(&query)?;
        let namespace = namespace.as_deref();
        let list = list::list(shared, (index, &resource), namespace, &options, form)?;
        return Ok(Answer::List(list));
    }
    let watch_list = shared.state().watch_list;
    Ok(Answer::Watch(Box::new(Watch {
        index,
        resource,
        namespace,
        options: WatchOptions::parse(&query, watch_list)?,
        form,
    })))
}

fn reviewed(shared: &Shared, asked: &Asked, plural: &str, user: &User) -> Canned {
    if asked.method != Method::POST {
        return unexpected(shared, asked, status::method_not_allowed());
    }
    review(shared, plural, user, &asked.agent, &asked.body)
        .unwrap_or_else(|| unexpected(shared, asked, status::no_such_resource()))
}

fn document(shared: &Shared, asked: &Asked, path: &str) -> Canned {
    let aggregated = wants_aggregated(&asked.accept) && matches!(path, "/api" | "/apis");
    let Some(text) = shared.state().catalog.document(path, aggregated) else {
        return status::no_such_group();
    };
    let mut canned = Canned::json(200, text);
    if aggregated {
        canned.content_type =
            "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
        canned = canned.with("Vary", "Accept");
    }
    canned
}

/// Who asks: 401 for a token that is not good, the anonymous user without one and without a certificate.
fn caller(shared: &Shared, asked: &Asked) -> Result<User, Canned> {
    let Some(token) = &asked.bearer else {
        return Ok(asked.shown.clone().unwrap_or_else(User::anonymous));
    };
    let audiences = [API_AUDIENCE.to_owned()];
    let told = authenticate(&shared.state().tokens, token, &audiences);
    told.map(|(user, _)| user)
        .map_err(|_| status::unauthorized())
}

/// Whether the caller may not do it.
fn refused(shared: &Shared, asked: &Asked, target: &Target, user: &User) -> Option<Canned> {
    let anonymous = *user == User::anonymous();
    let verb = verb(asked, target);
    let (index, namespace, name) = match target {
        Target::Collection {
            resource,
            namespace,
        } => (*resource, namespace.as_deref(), ""),
        Target::Object {
            resource,
            namespace,
            name,
        } => {
            let namespace = Some(namespace.as_str()).filter(|n| !n.is_empty());
            (*resource, namespace, name.as_str())
        }
        Target::Review(plural) => {
            let state = shared.state();
            let groups = ["authentication.k8s.io", "authorization.k8s.io"];
            let found = groups
                .iter()
                .find_map(|group| state.catalog.find(group, plural));
            (found?, None, "")
        }
        Target::Health => return None,
        Target::Document(path) if path == "/version" => return None,
        _ => {
            let denied = shared.state().denied_paths.contains(&asked.path);
            let refusal = status::forbidden_path(&user.name, verb, &asked.path);
            return (anonymous || denied).then_some(refusal);
        }
    };
    let (resource, denied, outside) = {
        let state = shared.state();
        let resource = state.catalog.get(index)?.clone();
        let denied = state
            .denials
            .iter()
            .any(|denial| denial.is_met(verb, &resource));
        let outside = is_outside(&state, user, &resource.group, &resource.plural, verb);
        (resource, denied, outside)
    };
    let refusal = status::forbidden(&user.name, verb, &resource, namespace, name);
    if outside && !denied && !anonymous {
        return Some(unexpected(shared, asked, refusal));
    }
    (anonymous || denied).then_some(refusal)
}

/// Whether a user who may do some things alone may not do this.
fn is_outside(state: &State, user: &User, group: &str, plural: &str, verb: &str) -> bool {
    let grant = (group.to_owned(), plural.to_owned(), verb.to_owned());
    let only = state.only.get(&user.name);
    only.is_some_and(|only| !only.contains(&grant))
}

fn verb(asked: &Asked, target: &Target) -> &'static str {
    let collection = matches!(target, Target::Collection { .. });
    match asked.method.as_str() {
        "GET" if collection && Query::parse(&asked.query).is_watch() => "watch",
        "GET" if collection => "list",
        "POST" => "create",
        "PUT" => "update",
        "PATCH" => "patch",
        "DELETE" => "delete",
        _ => "get",
    }
}

/// Answered as a real server would, and told by [`super::ApiServer::finish`] unless expected.
fn unexpected(shared: &Shared, asked: &Asked, canned: Canned) -> Canned {
    let mut state = shared.state();
    let path = &asked.path;
    let expected = state
        .expected
        .iter()
        .any(|known| match known.strip_suffix('*') {
            Some(prefix) => path.starts_with(prefix),
            None => path == known,
        });
    if !expected {
        let (method, query, status) = (&asked.method, &asked.query, canned.status);
        state
            .unexpected
            .push(format!("{method} {path}?{query}: {status}"));
    }
    canned
}

fn respond(
    shared: Arc<Shared>,
    socket: Socket,
    answer: Answer,
    fault: Option<Fault>,
) -> Response<Body> {
    let built = match answer {
        Answer::Canned(canned) => {
            let body = match fault {
                None => Body::from(canned.body.clone()),
                Some(fault) => {
                    let (mut out, body) = Out::new(Separator::Comma, Some(fault), socket);
                    let text = canned.body.clone();
                    tokio::spawn(async move {
                        out.item(&Name::default(), text).await?;
                        out.end().await
                    });
                    body
                }
            };
            let mut head = head(canned.status, canned.content_type);
            for (name, value) in canned.headers {
                head = head.header(name, value);
            }
            head.body(body)
        }
        Answer::List(list) => {
            let (out, body) = Out::new(Separator::Comma, fault, socket);
            tokio::spawn(list.send(out));
            head(200, "application/json").body(body)
        }
        Answer::Watch(watch) => {
            let (out, body) = Out::new(Separator::Line, fault, socket);
            tokio::spawn(watch.send(shared, out));
            head(200, "application/json").body(body)
        }
    };
    built.unwrap_or_else(|_| Response::new(Body::from("a header that is none")))
}

fn head(status: u16, content_type: &str) -> axum::http::response::Builder {
    let mut head = Response::builder()
        .status(status)
        .header("Cache-Control", "no-cache, private")
        .header(
            "X-Kubernetes-Pf-Flowschema-Uid",
            "84daa563-8206-4b26-bd3b-2ad6852fc3ce",
        )
        .header(
            "X-Kubernetes-Pf-Prioritylevel-Uid",
            "6f78ab3e-6e7e-418f-ba81-d77b14d3f736",
        );
    if !content_type.is_empty() {
        head = head.header(header::CONTENT_TYPE, content_type);
    }
    head
}
