//! What the metadata service and Pod Identity answer. Pure: no socket, time is an argument.
//!
//! After the AWS documentation ("Use the Instance Metadata Service to access instance metadata")
//! and aws/amazon-ec2-metadata-mock for the codes; for Pod Identity after
//! aws/eks-pod-identity-agent. No credential in it is real.

use std::collections::BTreeMap;
use std::time::Duration;

use fastrand::Rng;
use serde::{Deserialize, Serialize};

pub use super::head::Request;
use crate::encode::base64;

/// Which service a listener plays.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Endpoint {
    /// EC2 instance metadata.
    Imds,
    /// EKS Pod Identity.
    PodIdentity,
}

/// `HttpTokens` of the instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HttpTokens {
    /// Version 1 is served.
    Optional,
    /// A request without a token is answered 401.
    Required,
}

/// Longest life of a token, seconds (six hours).
const TTL_AT_MOST: u64 = 21_600;
/// Tokens remembered; the oldest go first.
const TOKENS_AT_MOST: usize = 100_000;

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Status code.
    pub status: u16,
    /// `Content-Type`.
    pub content_type: &'static str,
    /// Seconds for the token's time-to-live header.
    pub token_ttl: Option<u64>,
    /// Time-to-live of the packets that carry it, where it is not the usual one.
    pub hop_limit: Option<u8>,
    /// Body.
    pub body: String,
}

impl Answer {
    fn ok(content_type: &'static str, body: impl Into<String>) -> Self {
        Self {
            status: 200,
            content_type,
            token_ttl: None,
            hop_limit: None,
            body: body.into(),
        }
    }

    /// An error page as the service sends it.
    pub fn error(status: u16) -> Self {
        let reason = reason(status);
        let body = format!("<html><head><title>{status} - {reason}</title></head></html>\n");
        Self {
            status,
            ..Self::ok("text/html", body)
        }
    }

    /// The bytes on the wire.
    pub fn to_bytes(&self, close: bool) -> Vec<u8> {
        let mut head = format!(
            "HTTP/1.1 {} {}\r\nServer: EC2ws\r\nContent-Type: {}\r\nContent-Length: {}\r\n",
            self.status,
            reason(self.status),
            self.content_type,
            self.body.len()
        );
        if let Some(ttl) = self.token_ttl {
            let ttl = ttl.to_string();
            head.extend(["X-Aws-Ec2-Metadata-Token-Ttl-Seconds: ", &ttl, "\r\n"]);
        }
        head += if close {
            "Connection: close\r\n\r\n"
        } else {
            "\r\n"
        };
        head += &self.body;
        head.into_bytes()
    }
}

const fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        431 => "Request Header Fields Too Large",
        _ => "Error",
    }
}

/// An instance: its settings, its role, its tokens.
#[derive(Debug)]
pub struct Metadata {
    /// Whether version 1 is served.
    pub http_tokens: HttpTokens,
    /// Hop limit of token answers (`HttpPutResponseHopLimit`, 1 to 64).
    pub hop_limit: u8,
    /// Name of the instance's role.
    pub role: String,
    /// User data.
    pub user_data: String,
    tokens: BTreeMap<String, Duration>,
    order: std::collections::VecDeque<String>,
    rng: Rng,
}

impl Metadata {
    /// The stage's instance; `seed` draws its tokens.
    pub fn sample(seed: u64) -> Self {
        Self {
            http_tokens: HttpTokens::Optional,
            hop_limit: crate::network::HOP_LIMIT,
            role: "plimsoll-node-role".to_owned(),
            user_data: "[settings.kubernetes]\ncluster-name = \"stage\"\n".to_owned(),
            tokens: BTreeMap::new(),
            order: std::collections::VecDeque::new(),
            rng: Rng::with_seed(seed),
        }
    }

    /// Answers one request at `now` (time since any fixed moment).
    pub fn answer(&mut self, endpoint: Endpoint, request: &Request, now: Duration) -> Answer {
        match endpoint {
            Endpoint::PodIdentity => pod_identity(request),
            Endpoint::Imds if request.method == "PUT" => self.token(request, now),
            Endpoint::Imds => self.get(request, now),
        }
    }

    fn token(&mut self, request: &Request, now: Duration) -> Answer {
        // Tokens are handed out at this path only, and never through a proxy.
        if request.path != "/latest/api/token" || request.header("x-forwarded-for").is_some() {
            return Answer::error(403);
        }
        let asked = request.header("x-aws-ec2-metadata-token-ttl-seconds");
        let Some(ttl) = asked
            .and_then(|v| v.parse().ok())
            .filter(|ttl| (1..=TTL_AT_MOST).contains(ttl))
        else {
            return Answer::error(400);
        };
        let bytes: Vec<u8> = (0..40).map(|_| self.rng.u8(..)).collect();
        let token = base64(&bytes);
        if self.order.len() >= TOKENS_AT_MOST
            && let Some(oldest) = self.order.pop_front()
        {
            self.tokens.remove(&oldest);
        }
        self.order.push_back(token.clone());
        self.tokens
            .insert(token.clone(), now.saturating_add(Duration::from_secs(ttl)));
        Answer {
            token_ttl: Some(ttl),
            hop_limit: Some(self.hop_limit),
            ..Answer::ok("text/plain", token)
        }
    }

    fn get(&self, request: &Request, now: Duration) -> Answer {
        let remaining = match request.header("x-aws-ec2-metadata-token") {
            Some(token) => match self.tokens.get(token).and_then(|end| end.checked_sub(now)) {
                Some(left) if !left.is_zero() => Some(left.as_secs()),
                _ => return Answer::error(401),
            },
            None if self.http_tokens == HttpTokens::Required => return Answer::error(401),
            None => None,
        };
        if !matches!(request.method.as_str(), "GET" | "HEAD") {
            return Answer::error(405);
        }
        let mut answer = self.document(&request.path);
        answer.token_ttl = remaining;
        if request.method == "HEAD" {
            answer.body.clear();
        }
        answer
    }

    fn document(&self, path: &str) -> Answer {
        let Some(path) = path.strip_prefix('/').and_then(|p| p.split_once('/')) else {
            return if path == "/" {
                Answer::ok("text/plain", "latest")
            } else {
                Answer::error(404)
            };
        };
        let (version, rest) = path;
        if version != "latest" && !is_dated(version) {
            return Answer::error(404);
        }
        let credentials = "meta-data/iam/security-credentials/";
        match rest {
            "" => Answer::ok("text/plain", "dynamic\nmeta-data\nuser-data"),
            "meta-data" | "meta-data/" => {
                Answer::ok("text/plain", "hostname\niam/\ninstance-id\nplacement/")
            }
            "meta-data/instance-id" => Answer::ok("text/plain", "i-0123456789abcdef0"),
            "meta-data/hostname" => {
                Answer::ok("text/plain", "ip-10-0-0-1.eu-central-1.compute.internal")
            }
            "meta-data/placement/availability-zone" => Answer::ok("text/plain", "eu-central-1a"),
            "meta-data/iam/info" => Answer::ok("application/json", r#"{"Code":"Success"}"#),
            "user-data" => Answer::ok("application/octet-stream", self.user_data.clone()),
            "dynamic/instance-identity/document" => Answer::ok("application/json", IDENTITY),
            _ if rest == credentials || rest == credentials.trim_end_matches('/') => {
                Answer::ok("text/plain", self.role.clone())
            }
            _ if rest.strip_prefix(credentials) == Some(self.role.as_str()) => {
                Answer::ok("text/plain", CREDENTIALS)
            }
            _ => Answer::error(404),
        }
    }
}

const CREDENTIALS: &str = r#"{"Code":"Success","LastUpdated":"2026-01-05T00:00:00Z","Type":"AWS-HMAC","AccessKeyId":"ASIASTAGESTAGESTAGE0","SecretAccessKey":"not-a-secret","Token":"not-a-token","Expiration":"2036-01-05T06:00:00Z"}"#;
const IDENTITY: &str = r#"{"accountId":"000000000000","architecture":"x86_64","availabilityZone":"eu-central-1a","instanceId":"i-0123456789abcdef0","region":"eu-central-1","version":"2017-09-30"}"#;

/// `1.0`, `2007-01-19`, `2021-03-23`, …: any version is the same tree here.
fn is_dated(version: &str) -> bool {
    version == "1.0"
        || (version.len() == 10 && version.bytes().all(|b| b.is_ascii_digit() || b == b'-'))
}

/// The agent parses the whole `Authorization` value as a JWT, so that a `Bearer ` prefix is a
/// malformed token; and it insists on its own address in `Host`.
fn pod_identity(request: &Request) -> Answer {
    if request.method != "GET" || request.path != "/v1/credentials" {
        return Answer::error(404);
    }
    let host = request.header("host").unwrap_or_default();
    let host = host.strip_suffix(":80").unwrap_or(host);
    if !matches!(host, "169.254.170.23" | "[fd00:ec2::23]") {
        return Answer::error(400);
    }
    match request.header("authorization") {
        Some(token) if token.split('.').count() == 3 && !token.contains(' ') => {
            // Long expired or unknown tokens are refused by the service behind the agent.
            if token.ends_with(".denied") {
                Answer::error(403)
            } else {
                Answer::ok("application/json", POD_CREDENTIALS)
            }
        }
        _ => Answer::error(400),
    }
}

const POD_CREDENTIALS: &str = r#"{"AccessKeyId":"ASIASTAGEPODSTAGEPOD","SecretAccessKey":"not-a-secret","Token":"not-a-token","AccountId":"000000000000","Expiration":"2036-01-05T06:00:00Z"}"#;

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(metadata: &mut Metadata, text: &str, at_s: u64) -> Answer {
        ask_at(metadata, Endpoint::Imds, text, at_s)
    }

    fn ask_at(metadata: &mut Metadata, endpoint: Endpoint, text: &str, at_s: u64) -> Answer {
        let bytes = format!("{}\r\n\r\n", text.replace('\n', "\r\n"));
        let request = super::super::head::parse(bytes.as_bytes()).unwrap();
        metadata.answer(endpoint, &request, Duration::from_secs(at_s))
    }

    fn put(ttl: &str) -> String {
        format!("PUT /latest/api/token HTTP/1.1\nX-aws-ec2-metadata-token-ttl-seconds: {ttl}")
    }

    #[test]
    fn a_token_needs_a_lifetime_of_one_second_to_six_hours() {
        let mut metadata = Metadata::sample(1);
        for (ttl, status) in [
            ("1", 200),
            ("21600", 200),
            ("0", 400),
            ("21601", 400),
            ("-1", 400),
            ("x", 400),
            ("", 400),
        ] {
            assert_eq!(ask(&mut metadata, &put(ttl), 0).status, status, "{ttl:?}");
        }
        assert_eq!(
            ask(&mut metadata, "PUT /latest/api/token HTTP/1.1", 0).status,
            400
        );
        let dated = put("60").replace("latest", "2021-03-23");
        assert_eq!(ask(&mut metadata, &dated, 0).status, 403);
        let proxied = format!("{}\nX-Forwarded-For: 10.0.0.1", put("60"));
        assert_eq!(ask(&mut metadata, &proxied, 0).status, 403);
    }

    #[test]
    fn a_token_answer_is_short_of_breath_and_says_how_long_it_lives() {
        let answer = ask(&mut Metadata::sample(1), &put("60"), 0);
        assert_eq!(
            (answer.hop_limit, answer.token_ttl),
            (Some(crate::network::HOP_LIMIT), Some(60))
        );
        assert_eq!(
            (answer.body.len(), answer.body.ends_with("==")),
            (56, true),
            "{}",
            answer.body
        );
        let text = String::from_utf8(answer.to_bytes(true)).unwrap();
        assert!(text.contains("Server: EC2ws\r\n"), "{text}");
        assert!(
            text.contains("X-Aws-Ec2-Metadata-Token-Ttl-Seconds: 60\r\n"),
            "{text}"
        );
    }

    #[test]
    fn a_token_ends_and_a_wrong_one_is_refused_even_where_none_is_needed() {
        let mut metadata = Metadata::sample(1);
        let token = ask(&mut metadata, &put("60"), 0).body;
        let get = format!(
            "GET /latest/meta-data/instance-id HTTP/1.1\nX-aws-ec2-metadata-token: {token}"
        );
        assert_eq!(ask(&mut metadata, &get, 59).status, 200);
        assert_eq!(ask(&mut metadata, &get, 60).status, 401);
        let wrong = "GET /latest/meta-data/instance-id HTTP/1.1\nX-aws-ec2-metadata-token: wrong";
        assert_eq!(ask(&mut metadata, wrong, 0).status, 401);
        let without = "GET /latest/meta-data/instance-id HTTP/1.1";
        assert_eq!(ask(&mut metadata, without, 0).status, 200);
        metadata.http_tokens = HttpTokens::Required;
        assert_eq!(ask(&mut metadata, without, 0).status, 401);
    }

    #[test]
    fn documents_by_path() {
        let mut metadata = Metadata::sample(1);
        for (path, status) in [
            ("/", 200),
            ("/latest/", 200),
            ("/1.0/meta-data/instance-id", 200),
            (
                "/2021-03-23/meta-data/iam/security-credentials/plimsoll-node-role",
                200,
            ),
            ("/latest/meta-data/iam/security-credentials", 200),
            ("/latest/meta-data/iam/security-credentials/other", 404),
            ("/latest/user-data", 200),
            ("/latest/dynamic/instance-identity/document", 200),
            ("/latest/meta-data/nothing", 404),
            ("/soon/meta-data/instance-id", 404),
            ("nothing", 404),
        ] {
            assert_eq!(
                ask(&mut metadata, &format!("GET {path} HTTP/1.1"), 0).status,
                status,
                "{path}"
            );
        }
        assert_eq!(
            ask(&mut metadata, "POST /latest/user-data HTTP/1.1", 0).status,
            405
        );
        let head = ask(&mut metadata, "HEAD /latest/user-data HTTP/1.1", 0);
        assert_eq!((head.status, head.body.as_str()), (200, ""));
    }

    #[test]
    fn pod_identity_wants_its_host_and_a_bare_token() {
        let mut metadata = Metadata::sample(1);
        let get = "GET /v1/credentials HTTP/1.1\n";
        for (rest, status) in [
            ("Host: 169.254.170.23\nAuthorization: a.b.c", 200),
            ("Host: [fd00:ec2::23]:80\nAuthorization: a.b.c", 200),
            ("Host: evil.example\nAuthorization: a.b.c", 400),
            ("Host: 169.254.170.23\nAuthorization: Bearer a.b.c", 400),
            ("Host: 169.254.170.23", 400),
            ("Host: 169.254.170.23\nAuthorization: a.b.denied", 403),
        ] {
            let answer = ask_at(
                &mut metadata,
                Endpoint::PodIdentity,
                &format!("{get}{rest}"),
                0,
            );
            assert_eq!(answer.status, status, "{rest}");
        }
        let other = ask_at(
            &mut metadata,
            Endpoint::PodIdentity,
            "GET /v2/credentials HTTP/1.1",
            0,
        );
        assert_eq!(other.status, 404);
    }
}
