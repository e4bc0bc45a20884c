//! Who a client's certificate is for: its subject's common name is the user, its organisations are the
//! groups, as the API server reads them. Pure.
//!
//! The certificate was verified by whoever did the handshake; only its subject and its end are read here, in
//! DER (X.690) by RFC 5280, section 4.1. Whatever is not as it says there is nobody.

use std::sync::Arc;

use jiff::civil::{self, DateTime};

use super::access::Holder;
use crate::cluster::token::User;

/// Every user whom the API server knows is in this group; of one with a token it says so itself.
const AUTHENTICATED: &str = "system:authenticated";

const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const OID: u8 = 0x06;
/// `UTCTime`, with two digits of the year, and `GeneralizedTime`, with four.
const TIMES: [(u8, usize); 2] = [(0x17, 2), (0x18, 4)];
/// `[0] EXPLICIT`: the version, which may be left out.
const VERSION: u8 = 0xa0;
/// Text as certificates have it: `UTF8String` and `PrintableString`. The others may hold what is no text.
const TEXTS: [u8; 2] = [0x0c, 0x13];
/// 2.5.4.3 and 2.5.4.10.
const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];
const ORGANISATION: &[u8] = &[0x55, 0x04, 0x0a];

/// Whose it is, and until when; `None` of a certificate that names nobody.
pub(super) fn holder(certificate: &[u8]) -> Option<Holder> {
    let (signed, _) = take(certificate, SEQUENCE)?;
    let (mut fields, _) = take(signed, SEQUENCE)?;
    if let Some((_, rest)) = take(fields, VERSION) {
        fields = rest;
    }
    // Serial number, algorithm, issuer.
    for _ in 0..3 {
        let (_, _, rest) = element(fields)?;
        fields = rest;
    }
    let (validity, fields) = take(fields, SEQUENCE)?;
    let (subject, _) = take(fields, SEQUENCE)?;
    Some(Holder {
        user: Arc::new(user(subject)?),
        until_unix_s: not_after_unix_s(validity)?,
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

/// The last second in which it counts (RFC 5280, section 4.1.2.5).
fn not_after_unix_s(validity: &[u8]) -> Option<u64> {
    let (_, _, not_after) = element(validity)?;
    let (tag, text, _) = element(not_after)?;
    let (_, of_year) = TIMES.into_iter().find(|(of, _)| *of == tag)?;
    let (digits, zone) = text.split_at_checked(of_year + 10)?;
    if zone != b"Z" || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let (year, rest) = digits.split_at_checked(of_year)?;
    let number = |digits: &[u8]| {
        digits
            .iter()
            .fold(0, |sum, d| sum * 10 + i16::from(d - b'0'))
    };
    let year = match (of_year, number(year)) {
        (2, year @ 50..) => 1900 + year,
        (2, year) => 2000 + year,
        (_, year) => year,
    };
    let mut pairs = rest.chunks(2).map(|pair| i8::try_from(number(pair)).ok());
    let mut next = || pairs.next().flatten();
    let end = DateTime::new(year, next()?, next()?, next()?, next()?, next()?, 0).ok()?;
    let seconds = end
        .duration_since(civil::datetime(1970, 1, 1, 0, 0, 0, 0))
        .as_secs();
    Some(u64::try_from(seconds).unwrap_or(0))
}

/// What is in the element with this tag, and what is behind it.
fn take(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (found, content, rest) = element(bytes)?;
    (found == tag).then_some((content, rest))
}

/// Tag, content and what is behind it.
fn element(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, bytes) = bytes.split_first()?;
    let (&first, mut bytes) = bytes.split_first()?;
    let mut length = usize::from(first);
    if first >= 0x80 {
        // A length of up to four bytes; none of unknown length is DER.
        let digits = usize::from(first & 0x7f);
        if !(1..=4).contains(&digits) {
            return None;
        }
        let (length_bytes, rest) = bytes.split_at_checked(digits)?;
        length = length_bytes
            .iter()
            .fold(0, |sum, byte| sum << 8 | usize::from(*byte));
        bytes = rest;
    }
    let (content, rest) = bytes.split_at_checked(length)?;
    Some((tag, content, rest))
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

    #[track_caller]
    fn check_end(text: &str, unix_s: Option<u64>) {
        let tag = if text.len() < 15 { 0x17 } else { 0x18 };
        let mut validity = vec![tag, 1, b'x', tag, u8::try_from(text.len()).unwrap()];
        validity.extend(text.as_bytes());
        assert_eq!(not_after_unix_s(&validity), unix_s, "{text}");
    }

    #[test]
    fn the_end_is_read_from_either_kind_of_time() {
        check_end("260101000000Z", Some(1_767_225_600));
        check_end("491231235959Z", Some(2_524_607_999));
        check_end("500101000000Z", Some(0));
        check_end("20500101000000Z", Some(2_524_608_000));
        // "No well-defined expiration date".
        check_end("99991231235959Z", Some(253_402_300_799));
        for none in [
            "261301000000Z",
            "2601010000Z",
            "260101000000+0100",
            "2601010000 1Z",
        ] {
            check_end(none, None);
        }
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
