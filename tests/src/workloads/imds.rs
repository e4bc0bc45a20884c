#![expect(clippy::disallowed_methods, reason = "shell: waits between requests")]
//! Loads that ask the metadata service and Pod Identity for credentials, as SDKs do.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args;

use super::http::{Answer, request};
use crate::encode::base64_url;
use crate::imds_server::DELAY_MS;
use crate::network::{IMDS, POD_IDENTITY};

const CREDENTIALS: &str = "/latest/meta-data/iam/security-credentials/";

/// What a slow service takes, milliseconds: less than the client's patience of a second.
pub const SLOW_MS: u64 = 600;

/// How often, how long, over which family.
#[derive(Clone, Copy, Debug, Args)]
pub struct Pace {
    /// Ends after so many rounds, with an error if one failed; without it, goes on for ever.
    #[arg(long)]
    pub count: Option<u64>,
    /// Pause between rounds, milliseconds, at least one.
    #[arg(long, default_value_t = 2_000)]
    pub interval_ms: u64,
    /// Over IPv6.
    #[arg(long)]
    pub v6: bool,
}

impl Pace {
    pub(super) fn each(self, round: impl Fn(bool) -> Result<()>) -> Result<()> {
        let mut done = 0_u64;
        loop {
            let result = round(self.v6);
            done = done.saturating_add(1);
            match (self.count, result) {
                (Some(_), Err(e)) => return Err(e).with_context(|| format!("round {done}")),
                (Some(count), Ok(())) if done >= count => return Ok(()),
                // A load without an end outlives a service that is not there yet.
                _ => std::thread::sleep(Duration::from_millis(self.interval_ms.max(1))),
            }
        }
    }
}

fn address(pair: [&str; 2], v6: bool) -> Result<SocketAddr> {
    let text = if v6 { pair[1] } else { pair[0] };
    let ip: IpAddr = text.parse().with_context(|| format!("address {text}"))?;
    Ok(SocketAddr::new(ip, 80))
}

fn expect_ok(what: &str, answer: Answer) -> Result<String> {
    if answer.status == 200 {
        Ok(answer.body)
    } else {
        bail!("{what}: status {}", answer.status)
    }
}

fn list_and_get(to: SocketAddr, headers: &[(&str, &str)]) -> Result<()> {
    let role = expect_ok("role list", request(to, "GET", CREDENTIALS, headers)?)?;
    let path = format!("{CREDENTIALS}{}", role.trim());
    expect_ok("credentials", request(to, "GET", &path, headers)?).map(drop)
}

/// Two GETs without a token.
///
/// # Errors
/// A status other than 200, or no answer.
pub fn fetch_v1(v6: bool) -> Result<()> {
    list_and_get(address(IMDS, v6)?, &[("User-Agent", "aws-sdk-go/1.19.0")])
}

/// As [`fetch_v1`], from a service that takes [`SLOW_MS`] for each answer.
///
/// # Errors
/// A status other than 200, or no answer.
pub fn fetch_slowly(v6: bool) -> Result<()> {
    let delay = SLOW_MS.to_string();
    list_and_get(address(IMDS, v6)?, &[(DELAY_MS, &delay)])
}

/// PUT for a token, then two GETs with it.
///
/// # Errors
/// A status other than 200, or no answer.
pub fn fetch_v2(v6: bool) -> Result<()> {
    let to = address(IMDS, v6)?;
    let ttl = [("X-aws-ec2-metadata-token-ttl-seconds", "21600")];
    let token = expect_ok("token", request(to, "PUT", "/latest/api/token", &ttl)?)?;
    list_and_get(to, &[("X-aws-ec2-metadata-token", token.trim())])
}

/// PUT for a token; if no answer comes, on without one.
///
/// # Errors
/// The way without a token fails as well.
pub fn fetch_v2_or_v1(v6: bool) -> Result<()> {
    if fetch_v2(v6).is_err() {
        fetch_v1(v6)
    } else {
        Ok(())
    }
}

/// One GET with a service-account token of the pod.
///
/// # Errors
/// A status other than 200, or no answer.
pub fn fetch_pod_identity(v6: bool, pod_uid: &str) -> Result<()> {
    let to = address(POD_IDENTITY, v6)?;
    let token = service_account_token(pod_uid);
    let answer = request(to, "GET", "/v1/credentials", &[("Authorization", &token)])?;
    expect_ok("pod identity", answer).map(drop)
}

/// A token shaped like a projected one; the signature is not one.
fn service_account_token(pod_uid: &str) -> String {
    let header = base64_url(br#"{"alg":"RS256","kid":"stage"}"#);
    let claims = format!(
        r#"{{"aud":["pods.eks.amazonaws.com"],"kubernetes.io":{{"namespace":"shop","pod":{{"name":"ledger","uid":"{pod_uid}"}},"serviceaccount":{{"name":"ledger"}}}}}}"#
    );
    format!(
        "{header}.{}.{}",
        base64_url(claims.as_bytes()),
        base64_url(b"not a signature")
    )
}
