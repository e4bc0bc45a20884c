//! One request from its head to its answer: read, recorded, met by a fault or not, let in and served.

use std::io::{self, Read as _};
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, Method, Response, Uri, header};
use flate2::read::MultiGzDecoder;
use hyper::body::Incoming;
use serde_json::{Value, json};

use super::fault::Fault;
use super::rules::{self, Create};
use super::{Request, Shared, State};
use crate::loopback::Double;

/// Bytes of a body that are read at all.
const BODY_AT_MOST: usize = 128 << 20;

/// Status and body.
type Answer = (u16, String);

struct Asked {
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
}

fn refused(status: u16, kind: &str, words: &str) -> Answer {
    let error = json!({"type": kind, "reason": words, "root_cause": []});
    (
        status,
        json!({"error": error, "status": status}).to_string(),
    )
}

fn text(headers: &HeaderMap, name: header::HeaderName) -> Option<&str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

impl Double for Shared {
    async fn answer(
        self: Arc<Self>,
        request: axum::http::Request<Incoming>,
    ) -> io::Result<Response<Body>> {
        let (parts, body) = request.into_parts();
        // A client that leaves before its request is whole has made none.
        let body = axum::body::to_bytes(Body::new(body), BODY_AT_MOST)
            .await
            .map_err(io::Error::other)?;
        let asked = Asked {
            method: parts.method,
            uri: parts.uri,
            headers: parts.headers,
            body,
        };
        let mut state = self.state();
        let fault = state.faults.pop_front().unwrap_or(Fault::None);
        let number = state.begin(&asked);
        if fault == Fault::CutBefore {
            return Err(io::Error::other("scripted"));
        }
        let mut answer = state.serve(&asked, number, fault);
        match fault {
            Fault::CutAfter => return Err(io::Error::other("scripted")),
            Fault::UnusableBody => answer = (200, "<html>".to_owned()),
            Fault::BadGateway => answer = (502, "<html>".to_owned()),
            Fault::Redirect => answer = (307, String::new()),
            _ => {}
        }
        if let Some(request) = state.requests.get_mut(number) {
            request.status = Some(answer.0);
        }
        let mut response = Response::builder().status(answer.0);
        if fault == Fault::Redirect {
            response = response.header(header::LOCATION, "http://127.0.0.1:9/");
        }
        let response = response.body(Body::from(answer.1));
        response.map_err(io::Error::other)
    }
}

impl Asked {
    /// The body as it was before it was packed.
    fn unpacked(&self, most: usize) -> Result<Vec<u8>, Answer> {
        let too_large = || (413, String::new());
        if self.body.len() > most {
            return Err(too_large());
        }
        let mut body = Vec::new();
        let limit = u64::try_from(most).unwrap_or(u64::MAX).saturating_add(1);
        match text(&self.headers, header::CONTENT_ENCODING) {
            None => body.extend_from_slice(&self.body),
            Some("gzip") => {
                let mut read = MultiGzDecoder::new(&self.body[..]).take(limit);
                if read.read_to_end(&mut body).is_err() {
                    return Err(refused(400, "parse_exception", "not in gzip format"));
                }
            }
            Some(_) => return Err((415, String::new())),
        }
        if body.len() > most {
            return Err(too_large());
        }
        Ok(body)
    }
}

impl State {
    /// Records a request; its number.
    fn begin(&mut self, asked: &Asked) -> usize {
        self.requests.push(Request {
            path: asked.uri.to_string(),
            bytes: asked.body.len(),
            is_packed: asked.headers.contains_key(header::CONTENT_ENCODING),
            documents: 0,
            created: 0,
            status: None,
        });
        self.requests.len() - 1
    }

    fn serve(&mut self, asked: &Asked, number: usize, fault: Fault) -> Answer {
        let served = self.try_serve(asked, number, fault);
        served.unwrap_or_else(|refused| refused)
    }

    fn try_serve(&mut self, asked: &Asked, number: usize, fault: Fault) -> Result<Answer, Answer> {
        let is_ndjson = text(&asked.headers, header::CONTENT_TYPE) == Some("application/x-ndjson");
        let is_bulk = asked.method == Method::POST && asked.uri.path() == "/_bulk";
        if !is_bulk || !is_ndjson || !asked.headers.contains_key(header::CONTENT_LENGTH) {
            self.unexpected
                .push(format!("{} {}", asked.method, asked.uri));
            return Err((406, String::new()));
        }
        let shown = text(&asked.headers, header::AUTHORIZATION).unwrap_or_default();
        if !self.accepted.is_empty() && !self.accepted.contains(shown) {
            let words = "unable to authenticate";
            return Err(refused(401, "security_exception", words));
        }
        if let Some((status, kind)) = fault.canned() {
            return Err(refused(status, kind, "scripted"));
        }
        if matches!(fault, Fault::BadGateway | Fault::Redirect) {
            return Err((502, String::new()));
        }
        let body = asked.unpacked(self.max_content_bytes)?;
        let creates = rules::read(&body).map_err(|(kind, words)| refused(400, kind, &words))?;
        if fault == Fault::Lie {
            return Ok((200, json!({"errors": false, "items": []}).to_string()));
        }
        let mut items = Vec::new();
        for (at, create) in creates.iter().enumerate() {
            let half = fault.of_half().filter(|_| at % 2 == 1);
            let item = match half {
                Some((status, kind)) => item(create, status, Some((kind, "scripted"))),
                None => self.create(create, number),
            };
            items.push(item);
        }
        if let Some(request) = self.requests.get_mut(number) {
            request.documents = creates.len();
        }
        let errors = items.iter().any(|item| item["create"]["error"].is_object());
        match fault {
            Fault::OneLess => drop(items.pop()),
            Fault::OneMore => items.extend(items.last().cloned()),
            Fault::Turned => items.reverse(),
            _ => {}
        }
        Ok((200, json!({"errors": errors, "items": items}).to_string()))
    }

    fn create(&mut self, create: &Create, number: usize) -> Value {
        if let Err((status, (kind, words))) = rules::judge(create) {
            return item(create, status, Some((kind, &words)));
        }
        if self
            .poison
            .iter()
            .any(|text| create.document.contains(text))
        {
            if let Some(kept) = &mut self.failure_store {
                kept.push(create.document.clone());
                let id = format!("made-up-{}", kept.len());
                let mut told = json!({"_id": id, "status": 201});
                let asked = self.requests.get(number).map(|request| &request.path);
                if asked.is_some_and(|path| path.contains("items.create.failure_store")) {
                    told["failure_store"] = "used".into();
                }
                return json!({"create": told});
            }
            let words = "failed to parse field [x] of type [date]";
            return item(create, 400, Some(("document_parsing_exception", words)));
        }
        if self.blocked.contains(&create.index) {
            let words = "index [x] blocked by: [FORBIDDEN/8/index write (api)];";
            return item(create, 403, Some(("cluster_block_exception", words)));
        }
        let index = self.indices.entry(create.index.clone()).or_default();
        if index.contains_key(&create.id) {
            let words = format!("[{}]: version conflict, document already exists", create.id);
            return item(
                create,
                409,
                Some(("version_conflict_engine_exception", &words)),
            );
        }
        index.insert(create.id.clone(), create.document.clone());
        if let Some(request) = self.requests.get_mut(number) {
            request.created += 1;
        }
        item(create, 201, None)
    }
}

/// What is told of a document.
fn item(create: &Create, status: u16, error: Option<(&str, &str)>) -> Value {
    let mut told = json!({"_id": create.id, "status": status});
    if let Some((kind, words)) = error {
        told["error"] = json!({"type": kind, "reason": words});
    }
    json!({"create": told})
}
