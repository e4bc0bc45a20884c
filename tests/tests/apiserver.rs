//! The scripted API server itself: that it answers as a real one was recorded, that a real client
//! sees in it what it holds, and that it misbehaves as it is told.
#![expect(
    clippy::disallowed_methods,
    reason = "shell: asks a server over sockets"
)]
#![expect(
    clippy::unwrap_used,
    reason = "a test says by failing what it expected"
)]

#[path = "apiserver/clients.rs"]
mod clients;
#[path = "apiserver/faults.rs"]
mod faults;
#[path = "apiserver/fleets.rs"]
mod fleets;
#[path = "apiserver/recorded.rs"]
mod replayed;

use std::io::{BufRead, BufReader};

use plimsoll_tests::apiserver::{ApiServer, COLLECTOR_TOKEN};

/// An answer, its body whole.
#[derive(Debug)]
struct Answer {
    status: u16,
    headers: Vec<(String, String)>,
    body: String,
}

impl Answer {
    fn header(&self, name: &str) -> Option<&str> {
        let is = |(known, _): &&(String, String)| known.eq_ignore_ascii_case(name);
        self.headers
            .iter()
            .find(is)
            .map(|(_, value)| value.as_str())
    }
}

fn agent() -> ureq::Agent {
    let config = ureq::Agent::config_builder().http_status_as_error(false);
    config.build().into()
}

/// A call with these headers; a body makes it a POST.
fn call(server: &ApiServer, path: &str, headers: &[(&str, &str)], body: Option<&str>) -> Answer {
    let url = format!("{}{path}", server.url());
    let mut answer = match body {
        None => {
            let request = agent().get(url);
            let add = |r: ureq::RequestBuilder<_>, (k, v): &(&str, &str)| r.header(*k, *v);
            headers.iter().fold(request, add).call()
        }
        Some(body) => {
            let request = agent().post(url);
            let add = |r: ureq::RequestBuilder<_>, (k, v): &(&str, &str)| r.header(*k, *v);
            headers.iter().fold(request, add).send(body)
        }
    }
    .unwrap();
    let text = |(name, value): (&ureq::http::HeaderName, &ureq::http::HeaderValue)| {
        (name.to_string(), value.to_str().unwrap().to_owned())
    };
    Answer {
        status: answer.status().as_u16(),
        headers: answer.headers().iter().map(text).collect(),
        body: answer
            .body_mut()
            .with_config()
            .limit(1 << 30)
            .read_to_string()
            .unwrap(),
    }
}

/// A call of the collector.
fn get(server: &ApiServer, path: &str) -> Answer {
    let bearer = format!("Bearer {COLLECTOR_TOKEN}");
    call(server, path, &[("Authorization", &bearer)], None)
}

/// The lines of a watch, one by one, as they come.
fn watch(server: &ApiServer, path: &str, accept: &str) -> impl Iterator<Item = String> + use<> {
    let bearer = format!("Bearer {COLLECTOR_TOKEN}");
    let request = agent().get(format!("{}{path}", server.url()));
    let request = request
        .header("Authorization", bearer)
        .header("Accept", accept);
    let answer = request.call().unwrap();
    assert_eq!(answer.status().as_u16(), 200, "{path}");
    let lines = BufReader::new(answer.into_body().into_reader()).lines();
    lines.map_while(Result::ok)
}
