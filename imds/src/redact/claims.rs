//! Who a Pod Identity token says it is. Reads claims, verifies nothing, keeps no byte of the token
//! but names that Kubernetes itself shows.

use serde::Deserialize;

use super::{JWT_BYTES, Redactor};
use crate::PodIdentity;

impl Redactor {
    /// Claims of a JWT, unverified. `None` if it is not a JWT with claims that we can read.
    pub fn claims(&self, token: &[u8]) -> Option<PodIdentity> {
        if token.len() > JWT_BYTES {
            return None;
        }
        let mut parts = token.split(|byte| *byte == b'.');
        let (_, payload, _) = (parts.next()?, parts.next()?, parts.next()?);
        if parts.next().is_some() {
            return None;
        }
        let payload = decode_base64url(payload)?;
        let claims: Claims = serde_json::from_slice(&payload).ok()?;
        let kubernetes = claims.kubernetes?;
        let named =
            |named: Option<Named>| named.map_or((None, None), |named| (named.name, named.uid));
        let (pod_name, pod_uid) = named(kubernetes.pod);
        let (service_account, _) = named(kubernetes.serviceaccount);
        Some(PodIdentity {
            namespace: kubernetes.namespace.filter(|name| is_object_name(name)),
            pod_name: pod_name.filter(|name| is_object_name(name)),
            pod_uid: pod_uid.filter(|uid| is_object_name(uid)),
            service_account: service_account.filter(|name| is_object_name(name)),
        })
    }
}

/// Kubernetes names and UIDs: RFC 1123 subdomains.
fn is_object_name(name: &str) -> bool {
    (1..=253).contains(&name.len())
        && name.bytes().all(|byte| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'.')
        })
}

#[derive(Deserialize)]
struct Claims {
    #[serde(rename = "kubernetes.io")]
    kubernetes: Option<Kubernetes>,
}

#[derive(Deserialize)]
struct Kubernetes {
    namespace: Option<String>,
    pod: Option<Named>,
    serviceaccount: Option<Named>,
}

#[derive(Deserialize)]
struct Named {
    name: Option<String>,
    uid: Option<String>,
}

/// RFC 4648 section 5, padding optional.
fn decode_base64url(text: &[u8]) -> Option<Vec<u8>> {
    let padding = text.iter().rev().take_while(|byte| **byte == b'=').count();
    let text = text.get(..text.len() - padding)?;
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3 + 2);
    let mut bits = 0_u32;
    let mut count = 0;
    for byte in text {
        let value = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'-' | b'+' => 62,
            b'_' | b'/' => 63,
            _ => return None,
        };
        bits = bits << 6 | u32::from(value);
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count & 0xff) as u8);
        }
    }
    Some(bytes)
}
