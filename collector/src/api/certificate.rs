//! Who a client's certificate is for: its subject's common name is the user, its organisations are the
//! groups, as the API server reads them. Pure.
//!
//! The certificate was verified by whoever did the handshake; only its subject and its end are read here. Whatever is
//! not as RFC 5280 says is nobody.

use std::sync::Arc;

use super::access::Holder;
use crate::cluster::token::User;
use crate::x509::{SEQUENCE, element, from_validity, not_after_unix_s, take};

/// Every user whom the API server knows is in this group; of one with a token it says so itself.
const AUTHENTICATED: &str = "system:authenticated";

const SET: u8 = 0x31;
const OID: u8 = 0x06;
/// Text as certificates have it: `UTF8String` and `PrintableString`. The others may hold what is no text.
const TEXTS: [u8; 2] = [0x0c, 0x13];
/// 2.5.4.3 and 2.5.4.10.
const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];
const ORGANISATION: &[u8] = &[0x55, 0x04, 0x0a];

/// Whose it is, and until when; `None` of a certificate that names nobody.
pub(super) fn holder(certificate: &[u8]) -> Option<Holder> {
    let (_, _, behind_validity) = element(from_validity(certificate)?)?;
    let (subject, _) = take(behind_validity, SEQUENCE)?;
    Some(Holder {
        user: Arc::new(user(subject)?),
        // What ended before 1970 has ended.
        until_unix_s: u64::try_from(not_after_unix_s(certificate)?).unwrap_or(0),
    })
}

fn user(mut subject: &[u8]) -> Option<User> {
    let mut found = User::default();
    while !subject.is_empty() {
        let (mut of_one, rest) = take(subject, SET)?;
        subject = rest;
        while !of_one.is_empty() {
            let (attribute, rest) = take(of_one, SEQUENCE)?;
            of_one = rest;
            let (kind, value) = take(attribute, OID)?;
            if ![COMMON_NAME, ORGANISATION].contains(&kind) {
                continue;
            }
            let (tag, text, _) = element(value)?;
            let text = TEXTS.contains(&tag).then(|| std::str::from_utf8(text));
            let text = text?.ok()?.to_owned();
            if kind == COMMON_NAME {
                // Of several the last one counts, as for the API server.
                found.name = text;
            } else {
                found.groups.push(text);
            }
        }
    }
    if found.name.is_empty() {
        return None;
    }
    found.groups.push(AUTHENTICATED.to_owned());
    Some(found)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rcgen::{CertificateParams, DistinguishedName, DnType, DnValue, KeyPair};

    use super::*;

    fn certificate(names: &[(DnType, DnValue)]) -> Vec<u8> {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name = DistinguishedName::new();
        for (kind, value) in names {
            params.distinguished_name.push(kind.clone(), value.clone());
        }
        let key = KeyPair::generate().unwrap();
        params.self_signed(&key).unwrap().der().to_vec()
    }

    fn utf8(text: &str) -> DnValue {
        DnValue::Utf8String(text.to_owned())
    }

    #[test]
    fn the_common_name_is_the_user_and_the_organisation_a_group() {
        let printable = DnValue::PrintableString("team-shop".try_into().unwrap());
        let alice = certificate(&[
            (DnType::CountryName, utf8("NL")),
            (DnType::OrganizationName, printable),
            (DnType::CommonName, utf8("alice@example.com")),
        ]);
        let user = holder(&alice).unwrap().user;
        assert_eq!(user.name, "alice@example.com");
        assert_eq!(user.groups, ["team-shop", "system:authenticated"]);
        assert_eq!((&user.uid, user.extra.len()), (&None, 0));
    }

    #[test]
    fn one_without_a_name_is_nobody() {
        let nameless = certificate(&[(DnType::OrganizationName, utf8("system:masters"))]);
        assert_eq!(holder(&nameless), None);
        let empty = certificate(&[(DnType::CommonName, utf8(""))]);
        assert_eq!(holder(&empty), None);
        let wide = DnValue::BmpString("alice".try_into().unwrap());
        assert_eq!(holder(&certificate(&[(DnType::CommonName, wide)])), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_somebody_or_nobody(bytes: Vec<u8>, cut in 0_usize..400, at in 0_usize..400, with: u8) {
            drop(holder(&bytes));
            let mut alice = certificate(&[(DnType::CommonName, utf8("alice"))]);
            if let Some(byte) = alice.get_mut(at) {
                *byte = with;
            }
            drop(holder(&alice));
            alice.truncate(cut);
            drop(holder(&alice));
        }
    }
}
