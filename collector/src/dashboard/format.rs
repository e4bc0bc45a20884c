//! Numbers, times and addresses as people read them.

use std::fmt::Write as _;

use maud::{Markup, html};

use crate::sizing::memory::mib;

/// Millicores: `120 m`, from ten cores on `12.5 cores`.
pub(super) fn cpu(millicores: u64) -> String {
    if millicores < 10_000 {
        format!("{millicores} m")
    } else {
        format!("{:.1} cores", millicores as f64 / 1000.0)
    }
}

/// Millicores, or a dash that says what it stands for.
pub(super) fn cpu_or(millicores: Option<u64>, absent: &str) -> Markup {
    known_or(millicores.map(cpu), absent)
}

/// Bytes, or a dash that says what it stands for.
pub(super) fn bytes_or(bytes: Option<u64>, absent: &str) -> Markup {
    known_or(bytes.map(mib), absent)
}

/// A value, or what stands for its absence.
pub(super) fn known_or(value: Option<String>, absent: &str) -> Markup {
    html! { @if let Some(value) = value { (value) } @else { span.absent { (absent) } } }
}

/// A share of 1 as percent.
pub(super) fn percent(share: f64) -> String {
    let percent = share * 100.0;
    match percent {
        0.0 => "0 %".to_owned(),
        p if p < 0.01 => "< 0.01 %".to_owned(),
        p if p < 10.0 => format!("{p:.2} %"),
        p => format!("{p:.0} %"),
    }
}

/// Whole numbers with thin spaces between thousands.
pub(super) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() * 2);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push('\u{202f}');
        }
        out.push(digit);
    }
    out
}

/// `1 pod`, `2 pods`.
pub(super) fn counted(number: u64, one: &str) -> String {
    let s = if number == 1 { "" } else { "s" };
    format!("{} {one}{s}", count(number))
}

/// `2026-01-05T10:00:00Z` as `2026-01-05 10:00:00 UTC`.
pub(super) fn time_text(rfc3339: &str) -> String {
    match rfc3339.split_once('T') {
        Some((day, time)) => {
            let clock = time.split(['.', 'Z']).next().unwrap_or_default();
            format!("{day} {clock} UTC")
        }
        None => rfc3339.to_owned(),
    }
}

/// How long ago, in one unit.
pub(super) fn age(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        7200..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}

/// A text as one segment or parameter of an address (RFC 3986: unreserved characters stay).
pub(super) fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ignored: std::fmt::Result = write!(out, "%{byte:02X}");
        }
    }
    out
}

/// The page of a workload.
pub(super) fn workload_href(namespace: &str, kind: &str, name: &str) -> String {
    format!(
        "/workloads/{}/{}/{}",
        encoded(namespace),
        encoded(kind),
        encoded(name)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts() {
        assert_eq!(
            [cpu(0), cpu(9_999), cpu(12_500)],
            ["0 m", "9999 m", "12.5 cores"]
        );
        assert_eq!(
            [
                percent(0.0),
                percent(0.00001),
                percent(0.0312),
                percent(0.5)
            ],
            ["0 %", "< 0.01 %", "3.12 %", "50 %"]
        );
        assert_eq!([counted(1, "pod"), counted(0, "pod")], ["1 pod", "0 pods"]);
        assert_eq!(count(1_234_567), "1\u{202f}234\u{202f}567");
        assert_eq!(
            time_text("2026-01-05T10:00:00.5Z"),
            "2026-01-05 10:00:00 UTC"
        );
        assert_eq!(workload_href("a b", "K", "x/y"), "/workloads/a%20b/K/x%2Fy");
        assert_eq!(
            [age(5), age(600), age(86_400), age(1_000_000)],
            ["5 s", "10 min", "24 h", "11 days"]
        );
    }
}
