//! Kubernetes quantities: `250m`, `1.5Gi`, `2e3`, `1E`.
//!
//! The grammar and the rounding (always up) are those of `k8s.io/apimachinery/pkg/api/resource`:
//! a signed decimal number and one suffix, either binary (`Ki` … `Ei`), decimal (`n` `u` `m` none
//! `k` `M` `G` `T` `P` `E`) or an exponent (`e3`, `E-2`). Results are integers in the unit asked
//! for; nothing is computed in floating point.

use thiserror::Error;

/// Longest text that is looked at; the API server's own values are far shorter.
const MAX_BYTES: usize = 64;

/// Why a text is not a usable quantity.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum QuantityError {
    /// Nothing before the suffix, two points, or a sign alone.
    #[error("`{0}` is not a quantity: it has no number")]
    NoNumber(String),
    /// A suffix that Kubernetes does not know.
    #[error(
        "`{text}` is not a quantity: unknown suffix `{suffix}` (known: n u m k M G T P E Ki Mi Gi Ti Pi Ei, or an exponent such as e3)"
    )]
    Suffix {
        /// The whole text.
        text: String,
        /// What follows the number.
        suffix: String,
    },
    /// A resource cannot be negative.
    #[error("`{0}` is negative")]
    Negative(String),
    /// More than 2⁶³ − 1 of the unit.
    #[error("`{0}` is too large")]
    TooLarge(String),
    /// Longer than any quantity.
    #[error("a quantity of {0} bytes is too long")]
    TooLong(usize),
}

/// CPU in millicores, rounded up.
pub fn parse_millicores(text: &str) -> Result<u64, QuantityError> {
    parse_scaled(text, 3)
}

/// Memory in bytes, rounded up.
pub fn parse_bytes(text: &str) -> Result<u64, QuantityError> {
    parse_scaled(text, 0)
}

/// The value times 10^`scale`, rounded up to an integer.
fn parse_scaled(text: &str, scale: i32) -> Result<u64, QuantityError> {
    if text.len() > MAX_BYTES {
        return Err(QuantityError::TooLong(text.len()));
    }
    let (negative, unsigned) = match text.as_bytes().first() {
        Some(b'-') => (true, text.get(1..).unwrap_or_default()),
        Some(b'+') => (false, text.get(1..).unwrap_or_default()),
        _ => (false, text),
    };
    let number_len = unsigned
        .bytes()
        .take_while(|b| b.is_ascii_digit() || *b == b'.')
        .count();
    let (number, suffix) = unsigned
        .split_at_checked(number_len)
        .unwrap_or((unsigned, ""));
    let (digits, fraction_len) = mantissa(text, number)?;
    let (exponent, shift) = suffix_of(suffix).ok_or_else(|| QuantityError::Suffix {
        text: text.to_owned(),
        suffix: suffix.to_owned(),
    })?;
    if negative && digits != 0 {
        return Err(QuantityError::Negative(text.to_owned()));
    }
    let exponent = exponent.saturating_add(scale).saturating_sub(fraction_len);
    scale_up(digits, exponent, shift)
        .filter(|value| i64::try_from(*value).is_ok())
        .ok_or_else(|| QuantityError::TooLarge(text.to_owned()))
}

/// The digits without their point, and how many of them stood behind it.
fn mantissa(text: &str, number: &str) -> Result<(u128, i32), QuantityError> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if fraction.contains('.') || (whole.is_empty() && fraction.is_empty()) {
        return Err(QuantityError::NoNumber(text.to_owned()));
    }
    let mut digits: u128 = 0;
    for digit in whole.bytes().chain(fraction.bytes()) {
        digits = digits
            .checked_mul(10)
            .and_then(|d| d.checked_add(u128::from(digit - b'0')))
            .ok_or_else(|| QuantityError::TooLarge(text.to_owned()))?;
    }
    Ok((digits, i32::try_from(fraction.len()).unwrap_or(i32::MAX)))
}

/// A suffix as a power of ten and a power of two.
fn suffix_of(suffix: &str) -> Option<(i32, u32)> {
    Some(match suffix {
        "n" => (-9, 0),
        "u" => (-6, 0),
        "m" => (-3, 0),
        "" => (0, 0),
        "k" => (3, 0),
        "M" => (6, 0),
        "G" => (9, 0),
        "T" => (12, 0),
        "P" => (15, 0),
        "E" => (18, 0),
        "Ki" => (0, 10),
        "Mi" => (0, 20),
        "Gi" => (0, 30),
        "Ti" => (0, 40),
        "Pi" => (0, 50),
        "Ei" => (0, 60),
        other => (other.strip_prefix(['e', 'E']).and_then(exponent_of)?, 0),
    })
}

fn exponent_of(text: &str) -> Option<i32> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    let plain = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    plain.then(|| text.parse().ok()).flatten()
}

/// `digits · 10^exponent · 2^shift`, rounded up; `None` if it does not fit.
fn scale_up(digits: u128, exponent: i32, shift: u32) -> Option<u64> {
    if digits == 0 {
        return Some(0);
    }
    let shifted = digits.checked_mul(1_u128.checked_shl(shift)?)?;
    let power = 10_u128.checked_pow(exponent.unsigned_abs());
    let value = match (exponent >= 0, power) {
        (true, Some(power)) => shifted.checked_mul(power)?,
        (true, None) => return None,
        (false, Some(power)) => shifted.div_ceil(power),
        // Any positive value below one unit rounds up to one, as the API server does.
        (false, None) => 1,
    };
    u64::try_from(value).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[track_caller]
    fn check(text: &str, millicores: Result<u64, &str>, bytes: Result<u64, &str>) {
        let shown = |result: Result<u64, QuantityError>| result.map_err(|e| e.to_string());
        let expected = |result: Result<u64, &str>| result.map_err(str::to_owned);
        assert_eq!(
            shown(parse_millicores(text)),
            expected(millicores),
            "{text} as millicores"
        );
        assert_eq!(shown(parse_bytes(text)), expected(bytes), "{text} as bytes");
    }

    #[test]
    fn every_notation() {
        check("0", Ok(0), Ok(0));
        check("1", Ok(1_000), Ok(1));
        check("250m", Ok(250), Ok(1));
        check("1500m", Ok(1_500), Ok(2));
        check(".5", Ok(500), Ok(1));
        check("5.", Ok(5_000), Ok(5));
        check("+2", Ok(2_000), Ok(2));
        check("-0", Ok(0), Ok(0));
        check("1n", Ok(1), Ok(1));
        check("100u", Ok(1), Ok(1));
        check("2k", Ok(2_000_000), Ok(2_000));
        check("64Mi", Ok(67_108_864_000), Ok(67_108_864));
        check("1.5Gi", Ok(1_610_612_736_000), Ok(1_610_612_736));
        check("128974848", Ok(128_974_848_000), Ok(128_974_848));
        check("129e6", Ok(129_000_000_000), Ok(129_000_000));
        check("1E3", Ok(1_000_000), Ok(1_000));
        check("5e-3", Ok(5), Ok(1));
        check("1e-400", Ok(1), Ok(1));
        check(
            "1E",
            Err("`1E` is too large"),
            Ok(1_000_000_000_000_000_000),
        );
        check(
            "7Ei",
            Err("`7Ei` is too large"),
            Ok(8_070_450_532_247_928_832),
        );
    }

    #[test]
    fn refusals_name_the_text() {
        let suffix = |text: &str, suffix: &str| {
            format!(
                "`{text}` is not a quantity: unknown suffix `{suffix}` (known: n u m k M G T P E Ki Mi Gi Ti Pi Ei, or an exponent such as e3)"
            )
        };
        for (text, message) in [
            ("", "`` is not a quantity: it has no number".to_owned()),
            ("m", "`m` is not a quantity: it has no number".to_owned()),
            (
                "1.2.3",
                "`1.2.3` is not a quantity: it has no number".to_owned(),
            ),
            ("-1", "`-1` is negative".to_owned()),
            ("1K", suffix("1K", "K")),
            ("1 Gi", suffix("1 Gi", " Gi")),
            ("1e", suffix("1e", "e")),
            ("1e+-3", suffix("1e+-3", "e+-3")),
            ("1µ", suffix("1µ", "µ")),
            ("8Ei", "`8Ei` is too large".to_owned()),
            ("1e99", "`1e99` is too large".to_owned()),
        ] {
            check(text, Err(&message), Err(&message));
        }
        assert_eq!(
            parse_bytes(&"1".repeat(65)),
            Err(QuantityError::TooLong(65))
        );
    }

    proptest! {
        #[test]
        fn any_text_has_an_answer(text in "\\PC{0,80}") {
            // A millicore is a thousandth: where both have an answer they agree but for rounding.
            if let (Ok(millicores), Ok(whole)) = (parse_millicores(&text), parse_bytes(&text)) {
                prop_assert_eq!(millicores.div_ceil(1000), whole);
            }
        }

        #[test]
        fn plain_integers_are_themselves(value in 0..u64::from(u32::MAX)) {
            prop_assert_eq!(parse_bytes(&value.to_string()), Ok(value));
            prop_assert_eq!(parse_millicores(&format!("{value}m")), Ok(value));
            prop_assert_eq!(parse_bytes(&format!("{value}Ki")), Ok(value * 1024));
        }
    }
}
