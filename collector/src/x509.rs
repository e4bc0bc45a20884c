//! Certificates in DER (X.690), as far as they are read here: by RFC 5280, section 4.1. Pure.
//!
//! Whoever trusts one has verified it elsewhere. Whatever is not as it says there is `None`.

use jiff::civil::DateTime;

pub(crate) const SEQUENCE: u8 = 0x30;
/// `[0] EXPLICIT`: the version, which may be left out.
const VERSION: u8 = 0xa0;
/// `YYMMDDHHMMSSZ`, of the years 1950 to 2049.
const UTC_TIME: u8 = 0x17;
/// `YYYYMMDDHHMMSSZ`.
const GENERALIZED_TIME: u8 = 0x18;

/// The fields from the validity on: it, the subject, and what is behind that.
pub(crate) fn from_validity(certificate: &[u8]) -> Option<&[u8]> {
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
    Some(fields)
}

/// Its last second, Unix time.
pub(crate) fn not_after_unix_s(certificate: &[u8]) -> Option<i64> {
    let (validity, _) = take(from_validity(certificate)?, SEQUENCE)?;
    end_unix_s(validity)
}

/// The second of two times (RFC 5280, section 4.1.2.5).
fn end_unix_s(validity: &[u8]) -> Option<i64> {
    let (_, _, behind_not_before) = element(validity)?;
    let (tag, text, _) = element(behind_not_before)?;
    let text = std::str::from_utf8(text).ok()?;
    let (year, rest) = match tag {
        UTC_TIME => {
            let (year, rest) = number(text, 2)?;
            (year + if year < 50 { 2000 } else { 1900 }, rest)
        }
        GENERALIZED_TIME => number(text, 4)?,
        _ => return None,
    };
    unix_s(year, rest)
}

/// `MMDDHHMMSSZ` of a year.
fn unix_s(year: i16, rest: &str) -> Option<i64> {
    let (month, rest) = number(rest, 2)?;
    let (day, rest) = number(rest, 2)?;
    let (hour, rest) = number(rest, 2)?;
    let (minute, rest) = number(rest, 2)?;
    let (second, rest) = number(rest, 2)?;
    let [month, day, hour, minute, second] =
        [month, day, hour, minute, second].map(|of| i8::try_from(of).ok());
    let end = DateTime::new(year, month?, day?, hour?, minute?, second?, 0).ok()?;
    let since = end.duration_since(DateTime::constant(1970, 1, 1, 0, 0, 0, 0));
    (rest == "Z").then(|| since.as_secs())
}

fn number(text: &str, digits: usize) -> Option<(i16, &str)> {
    let (number, rest) = text.split_at_checked(digits)?;
    let plain = number.bytes().all(|byte| byte.is_ascii_digit());
    Some((plain.then(|| number.parse().ok())??, rest))
}

/// What is in the element with this tag, and what is behind it.
pub(crate) fn take(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (found, content, rest) = element(bytes)?;
    (found == tag).then_some((content, rest))
}

/// Tag, content and what is behind it.
pub(crate) fn element(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
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
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    use super::*;

    fn until(year: i32, month: u8, day: u8) -> Vec<u8> {
        let mut params = CertificateParams::new(vec!["one".to_owned()]).unwrap();
        params.not_after = date_time_ymd(year, month, day);
        let key = KeyPair::generate().unwrap();
        params.self_signed(&key).unwrap().der().to_vec()
    }

    #[test]
    fn the_end_of_a_certificate_is_read_in_both_forms() {
        for (year, month, day, unix_s) in [
            (2027, 3, 1, 1_803_859_200),
            // The leap day, and the days around it.
            (2028, 2, 29, 1_835_395_200),
            (2028, 3, 1, 1_835_481_600),
            (2049, 12, 31, 2_524_521_600),
            // Generalized time from here on.
            (2050, 1, 1, 2_524_608_000),
            (2100, 3, 1, 4_107_542_400),
        ] {
            let found = not_after_unix_s(&until(year, month, day));
            assert_eq!(found, Some(unix_s), "{year}-{month}-{day}");
        }
    }

    #[track_caller]
    fn check_end(text: &str, unix_s: Option<i64>) {
        let tag = if text.len() < 15 {
            UTC_TIME
        } else {
            GENERALIZED_TIME
        };
        let mut validity = vec![tag, 1, b'x', tag, u8::try_from(text.len()).unwrap()];
        validity.extend(text.as_bytes());
        assert_eq!(end_unix_s(&validity), unix_s, "{text}");
    }

    #[test]
    fn times_are_of_either_kind() {
        check_end("491231235959Z", Some(2_524_607_999));
        check_end("500101000000Z", Some(-631_152_000));
        // "No well-defined expiration date".
        check_end("99991231235959Z", Some(253_402_300_799));
        check_end("260101000000+0100", None);
        check_end("2601010000 1Z", None);
    }

    #[test]
    fn what_is_no_time_is_none() {
        for text in [
            "",
            "0301000000",
            "0301000000+",
            "1301000000Z",
            "0300000000Z",
            "0301240000Z",
            "0301000060Z",
            "0301-10000Z",
            "0301000000Z0",
        ] {
            assert_eq!(unix_s(2027, text), None, "{text}");
        }
        assert_eq!(unix_s(1970, "0102000001Z"), Some(86_401));
    }

    proptest! {
        #[test]
        fn any_bytes_have_an_end_or_none(bytes: Vec<u8>, cut in 0_usize..400, at in 0_usize..400, with: u8) {
            let _total = not_after_unix_s(&bytes);
            let mut one = until(2027, 3, 1);
            if let Some(byte) = one.get_mut(at) {
                *byte = with;
            }
            let _total = not_after_unix_s(&one);
            one.truncate(cut);
            let _total = not_after_unix_s(&one);
        }
    }
}
