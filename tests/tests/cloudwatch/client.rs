//! A client that sends what it is told: no retry, no check of its own, a signature that is none.

use std::fmt;

use serde_json::Value;

/// The content type of AWS JSON 1.1.
const CONTENT_TYPE: &str = "application/x-amz-json-1.1";
const DATE: &str = "20260131T120000Z";

/// An answer, its body whole.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) text: String,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let is = |(known, _): &&(String, String)| known.eq_ignore_ascii_case(name);
        let found = self.headers.iter().find(is);
        found.map(|(_, value)| value.as_str())
    }

    /// The body as JSON; null if it is none.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_default()
    }

    /// The type of the error, `NN` (the status) if it has none; empty: no error.
    pub(crate) fn error(&self) -> String {
        if self.status == 200 {
            return String::new();
        }
        let kind = self.json()["__type"].as_str().map(str::to_owned);
        kind.unwrap_or_else(|| self.status.to_string())
    }

    pub(crate) fn message(&self) -> String {
        self.json()["message"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.status, self.text)
    }
}

pub(crate) struct Client {
    endpoint: String,
    pub(crate) key: String,
    pub(crate) region: String,
    pub(crate) token: Option<String>,
    agent: ureq::Agent,
}

impl Client {
    pub(crate) fn new(endpoint: &str) -> Self {
        let config = ureq::Agent::config_builder().http_status_as_error(false);
        Self {
            endpoint: endpoint.to_owned(),
            key: "AKIDEXAMPLE".to_owned(),
            region: "eu-central-1".to_owned(),
            token: None,
            agent: config.build().into(),
        }
    }

    /// The headers of a signed request.
    pub(crate) fn headers(&self, operation: &str) -> Vec<(&'static str, String)> {
        let scope = format!("20260131/{}/logs/aws4_request", self.region);
        let authorization = format!(
            "AWS4-HMAC-SHA256 Credential={}/{scope}, SignedHeaders=host;x-amz-date;x-amz-target, \
             Signature={}",
            self.key,
            "0".repeat(64)
        );
        let mut headers = vec![
            ("content-type", CONTENT_TYPE.to_owned()),
            ("x-amz-target", format!("Logs_20140328.{operation}")),
            ("x-amz-date", DATE.to_owned()),
            ("authorization", authorization),
        ];
        if let Some(token) = &self.token {
            headers.push(("x-amz-security-token", token.clone()));
        }
        headers
    }

    /// Sends exactly that; an error is a connection that ended without an answer.
    pub(crate) fn send(
        &self,
        headers: &[(&'static str, String)],
        body: &[u8],
    ) -> Result<Answer, ureq::Error> {
        let mut request = self.agent.post(&self.endpoint);
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        let mut answer = request.send(body)?;
        let text = |(name, value): (&ureq::http::HeaderName, &ureq::http::HeaderValue)| {
            (name.to_string(), value.to_str().unwrap().to_owned())
        };
        let headers = answer.headers().iter().map(text).collect();
        let status = answer.status().as_u16();
        let body = answer.body_mut().with_config().limit(1 << 30);
        Ok(Answer {
            status,
            headers,
            text: body.read_to_string()?,
        })
    }

    pub(crate) fn try_call(&self, operation: &str, body: &Value) -> Result<Answer, ureq::Error> {
        self.send(&self.headers(operation), body.to_string().as_bytes())
    }

    pub(crate) fn call(&self, operation: &str, body: &Value) -> Answer {
        self.try_call(operation, body).unwrap()
    }
}
