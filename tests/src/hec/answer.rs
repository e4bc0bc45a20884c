//! One request from its head to its answer: read, recorded, met by a fault or not, let in and served.

use std::collections::BTreeMap;
use std::io::{self, Read as _};
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, Method, Response, Uri, header};
use flate2::read::MultiGzDecoder;
use hyper::body::Incoming;
use serde_json::{Value, json};

use super::fault::Fault;
use super::{Channel, HELD_AT_MOST, Request, Shared, State, Token, rules};
use crate::loopback::Double;

const EVENT: &str = "/services/collector/event";
const ACK: &str = "/services/collector/ack";
const CHANNEL: &str = "x-splunk-request-channel";

/// Bytes of a body that are read at all.
const BODY_AT_MOST: usize = 32 << 20;

/// Status and body.
type Answer = (u16, String);

struct Asked {
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
}

fn refused(status: u16, code: i64, text: &str) -> Answer {
    (status, json!({"text": text, "code": code}).to_string())
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

impl Double for Shared {
    async fn answer(
        self: Arc<Self>,
        request: axum::http::Request<Incoming>,
    ) -> io::Result<Response<Body>> {
        let shared = self;
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
        let (number, fault) = begin(&shared, &asked);
        let held = shared.released.subscribe();
        let cut = || Err(io::Error::other("scripted"));
        if fault == Fault::CutBefore {
            return cut();
        }
        let mut answer = match fault.canned() {
            Some((status, body)) => (status, body.to_owned()),
            None => shared.state().serve(&asked, number, fault),
        };
        match fault {
            Fault::CutAfter => return cut(),
            Fault::UnusableBody => answer = (200, "<html>".to_owned()),
            Fault::Held => {
                let mut held = held;
                drop(tokio::time::timeout(HELD_AT_MOST, held.changed()).await);
            }
            _ => {}
        }
        let said: Value = serde_json::from_str(&answer.1).unwrap_or_default();
        if let Some(request) = shared.state().requests.get_mut(number) {
            request.answer = Some((answer.0, said["code"].as_i64()));
        }
        let mut response = Response::builder().status(answer.0);
        if fault == Fault::Redirect {
            response = response.header(header::LOCATION, "http://127.0.0.1:9/");
        }
        let response = response.body(Body::from(answer.1));
        response.map_err(io::Error::other)
    }
}

/// Records a request; its number and its fault.
fn begin(shared: &Shared, asked: &Asked) -> (usize, Fault) {
    let mut state = shared.state();
    let number = state.requests.len();
    state.requests.push(Request {
        path: asked.uri.path().to_owned(),
        channel: text(&asked.headers, CHANNEL).map(str::to_owned),
        bytes: asked.body.len(),
        is_packed: asked.headers.contains_key(header::CONTENT_ENCODING),
        stored: 0,
        answer: None,
    });
    let fault = match asked.uri.path() {
        EVENT => state.faults.pop_front(),
        ACK => state.ack_faults.pop_front(),
        _ => None,
    };
    (number, fault.unwrap_or(Fault::None))
}

impl Asked {
    /// The body as it was before it was packed.
    fn unpacked(&self, most: usize) -> Result<Vec<u8>, Answer> {
        let too_large = || (413, "Content-Length too large".to_owned());
        if self.body.len() > most {
            return Err(too_large());
        }
        let mut body = Vec::new();
        let limit = u64::try_from(most).unwrap_or(u64::MAX).saturating_add(1);
        match text(&self.headers, "content-encoding") {
            None => body.extend_from_slice(&self.body),
            Some("gzip") => {
                let read = MultiGzDecoder::new(&self.body[..]).take(limit);
                let mut read = read;
                if read.read_to_end(&mut body).is_err() {
                    return Err(refused(400, 6, "Invalid data format"));
                }
            }
            Some(_) => return Err((415, String::new())),
        }
        if body.len() > most {
            return Err(too_large());
        }
        Ok(body)
    }

    /// The channel of a token with acknowledgement.
    fn channel(&self) -> Result<&str, Answer> {
        let channel = text(&self.headers, CHANNEL);
        let channel = channel.ok_or_else(|| refused(400, 10, "Data channel is missing"))?;
        let query = self.uri.query().and_then(|q| q.strip_prefix("channel="));
        if rules::is_guid(channel) && query.is_none_or(|query| query == channel) {
            Ok(channel)
        } else {
            Err(refused(400, 11, "Invalid data channel"))
        }
    }
}

impl State {
    fn serve(&mut self, asked: &Asked, number: usize, fault: Fault) -> Answer {
        let served = self.try_serve(asked, number, fault);
        served.unwrap_or_else(|refused| refused)
    }

    fn try_serve(&mut self, asked: &Asked, number: usize, fault: Fault) -> Result<Answer, Answer> {
        let path = asked.uri.path();
        let length = text(&asked.headers, "content-length");
        let is_json = text(&asked.headers, "content-type") == Some("application/json");
        let is_served = asked.method == Method::POST && [EVENT, ACK].contains(&path);
        if !is_served || length.is_none() || !is_json {
            let line = format!("{} {} {length:?}", asked.method, asked.uri);
            self.unexpected.push(line);
            return Err((
                404,
                r#"{"text":"The requested URL was not found"}"#.to_owned(),
            ));
        }
        let token = self.token(&asked.headers)?.clone();
        let body = asked.unpacked(self.max_content_bytes)?;
        if path == ACK {
            return self.tell(&token, asked.channel(), &body);
        }
        let channel = token.has_acks.then(|| asked.channel()).transpose()?;
        let stored = self.store(&token, &body, fault, number)?;
        let mut said = json!({"text": "Success", "code": 0});
        if let Some(channel) = channel {
            said["ackId"] = self.number(channel, stored && fault != Fault::NeverAcknowledged);
        }
        Ok((200, said.to_string()))
    }

    fn token(&self, headers: &HeaderMap) -> Result<&Token, Answer> {
        let header = text(headers, "authorization");
        let header = header.ok_or_else(|| refused(401, 2, "Token is required"))?;
        let token = header.strip_prefix("Splunk ");
        let token = token.ok_or_else(|| refused(401, 3, "Invalid authorization"))?;
        let token = self.tokens.get(token);
        let token = token.ok_or_else(|| refused(403, 4, "Invalid token"))?;
        if token.is_disabled {
            return Err(refused(403, 1, "Token disabled"));
        }
        Ok(token)
    }

    /// Stores a body's events, up to one that is wrong. Whether they are stored.
    fn store(
        &mut self,
        token: &Token,
        body: &[u8],
        fault: Fault,
        number: usize,
    ) -> Result<bool, Answer> {
        let may_write = |index: &str| {
            token.indexes.is_empty() || token.indexes.iter().any(|known| known == index)
        };
        let is_poison = |event: &str| self.poison.iter().any(|text| event.contains(text));
        let read = rules::read(body, may_write, is_poison);
        self.skipped += read.skipped;
        let is_stored = fault != Fault::LostBehind;
        if is_stored {
            if let Some(request) = self.requests.get_mut(number) {
                request.stored = read.events.len();
            }
            self.stored.extend(read.events);
        }
        let Some(wrong) = read.wrong else {
            return Ok(is_stored);
        };
        let mut said = json!({"text": wrong.text, "code": wrong.code});
        if let Some(place) = wrong.place.filter(|_| fault != Fault::Unnamed) {
            said["invalid-event-number"] = place.into();
        }
        Err((400, said.to_string()))
    }

    /// A call's number in its channel.
    fn number(&mut self, channel: &str, is_indexed_once: bool) -> Value {
        let looks = self.looks.max(1);
        let channel = self.channels.entry(channel.to_owned()).or_default();
        let Channel { next, waiting } = channel;
        let number = *next;
        *next += 1;
        if is_indexed_once {
            waiting.insert(number, looks);
        }
        number.into()
    }

    /// Which calls are indexed. What was told is forgotten.
    fn tell(
        &mut self,
        token: &Token,
        channel: Result<&str, Answer>,
        body: &[u8],
    ) -> Result<Answer, Answer> {
        if !token.has_acks {
            return Err(refused(400, 14, "ACK is disabled"));
        }
        let channel = self.channels.entry(channel?.to_owned()).or_default();
        let question: BTreeMap<String, Vec<u64>> =
            serde_json::from_slice(body).map_err(|_| refused(400, 6, "Invalid data format"))?;
        let mut acks = BTreeMap::new();
        for id in question.get("acks").into_iter().flatten() {
            let is_indexed = channel.waiting.get_mut(id).is_some_and(|looks| {
                *looks = looks.saturating_sub(1);
                *looks == 0
            });
            if is_indexed {
                channel.waiting.remove(id);
            }
            acks.insert(*id, is_indexed);
        }
        Ok((200, json!({"acks": acks}).to_string()))
    }
}
