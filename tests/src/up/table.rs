//! The live view of `up` as text. Pure but for the questions it asks Plimsoll.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use anyhow::Result;
use serde_json::Value;

use crate::plimsoll::config::AUDIT;
use crate::plimsoll::{Plimsoll, read};

/// Characters that the column of names has at least and at most.
const SHORTEST: usize = 20;
const LONGEST: usize = 36;

/// Asks and renders.
pub(super) fn render(plimsoll: &Plimsoll, missing: &[String], since: Duration) -> Result<String> {
    let sizing = plimsoll.api("/api/v1/sizing")?;
    let events = read::events(&plimsoll.api(AUDIT)?);
    let accounting = plimsoll.api("/api/v1/accounting")?;
    let agent = plimsoll.agent()?;
    let degraded = agent["health"]["degraded"].as_array().into_iter().flatten();
    let mut out = text(&sizing, &events, &accounting, since);
    partial(
        &mut out,
        missing
            .iter()
            .map(String::as_str)
            .chain(degraded.filter_map(Value::as_str)),
    );
    Ok(out)
}

fn text(sizing: &Value, events: &[Value], accounting: &Value, since: Duration) -> String {
    let mut out = format!("\n── after {} s ──\n", since.as_secs());
    let recommendations = || sizing["recommendations"].as_array().into_iter().flatten();
    let workload =
        |r: &Value| -> String { format!("{}/{}", word(&r["namespace"]), word(&r["workload"])) };
    let longest = recommendations().map(|r| workload(r).chars().count()).max();
    let width = longest.unwrap_or_default().clamp(SHORTEST, LONGEST);
    line(
        &mut out,
        width,
        &[
            "WORKLOAD",
            "CPU p95",
            "CPU 1s max",
            "request",
            "should be",
            "MEM peak",
            "request",
            "should be",
        ],
    );
    for r in recommendations() {
        let statistics = &r["cpu"]["statistics"];
        line(
            &mut out,
            width,
            &[
                &shortened(&workload(r), width),
                &millis(&statistics["minute_means"]["p95_millicores"]),
                &millis(&statistics["seconds"]["max_millicores"]),
                &millis(&r["current"]["request_millicores"]),
                &millis(&r["cpu"]["request_millicores"]),
                &peak(&r["memory"]["peaks"]),
                &mib(&r["current"]["request_bytes"]),
                &mib(&r["memory"]["request_bytes"]),
            ],
        );
    }
    if recommendations().next().is_none() {
        out.push_str("  none that the inventory names\n");
    }
    let mut accesses: BTreeMap<(String, String, String), u64> = BTreeMap::new();
    for event in events.iter().filter(|event| read::is_kind(event, "imds")) {
        let request = &read::body(event)["request"];
        let endpoint = word(&request["endpoint"]);
        // Versions are a matter of IMDS only.
        let what = match word(&request["imds_version"]) {
            "none" => format!("{endpoint} {}", word(&request["class"])),
            version => format!("{endpoint} {version} {}", word(&request["class"])),
        };
        *accesses
            .entry((who(event), what, word(&request["outcome"]).to_owned()))
            .or_default() += 1;
    }
    for ((who, what, outcome), times) in accesses {
        let who = shortened(&who, LONGEST);
        let _infallible = writeln!(out, "  {who:<LONGEST$} {what:<20} {outcome:<18} × {times}");
    }
    let kills = events
        .iter()
        .filter(|event| read::is_kind(event, "oom_kill"))
        .count();
    let unaccounted: i128 = read::fates(accounting)
        .into_iter()
        .map(read::unaccounted)
        .sum();
    let _infallible = writeln!(
        out,
        "  OOM kills {kills}, records unaccounted for {unaccounted}"
    );
    out
}

/// What is not seen, by name: the reasons are said at the start.
fn partial<'a>(out: &mut String, reasons: impl Iterator<Item = &'a str>) {
    let names: Vec<&str> = reasons
        .map(|reason| reason.split_once(':').map_or(reason, |(name, _)| name))
        .collect();
    if !names.is_empty() {
        let _infallible = writeln!(
            out,
            "  Partial: {} (reasons at the start)",
            names.join(", ")
        );
    }
}

/// `width`: of the first column, characters.
fn line(out: &mut String, width: usize, cells: &[&str]) {
    for (column, cell) in cells.iter().enumerate() {
        let _infallible = if column == 0 {
            write!(out, "  {cell:<width$}")
        } else {
            write!(out, " {cell:>10}")
        };
    }
    out.push('\n');
}

/// A name of at most `width` characters: its ends tell names apart, its middle seldom does.
fn shortened(name: &str, width: usize) -> String {
    let characters: Vec<char> = name.chars().collect();
    if characters.len() <= width {
        return name.to_owned();
    }
    let tail = width.saturating_sub(1) / 2;
    let head = width.saturating_sub(1) - tail;
    let (front, back) = (
        characters.iter().take(head),
        characters.iter().rev().take(tail).rev(),
    );
    front.chain(['…'].iter()).chain(back).collect()
}

/// The joined name, or the UID while there is none.
fn who(event: &Value) -> String {
    match (read::name(event, "namespace"), read::name(event, "pod")) {
        (Some(namespace), Some(pod)) => format!("{namespace}/{pod}"),
        _ => read::pod_uid(event).unwrap_or("host").to_owned(),
    }
}

fn word(value: &Value) -> &str {
    value.as_str().unwrap_or("–")
}

fn millis(value: &Value) -> String {
    value
        .as_u64()
        .map_or_else(|| "–".to_owned(), |m| format!("{m}m"))
}

fn mib(value: &Value) -> String {
    value
        .as_u64()
        .map_or_else(|| "–".to_owned(), |b| format!("{}Mi", b.div_ceil(1 << 20)))
}

/// The highest memory known: between two samples the kernel's own peak has seen more.
fn peak(peaks: &Value) -> String {
    let highest = ["sampled_bytes", "lifetime_bytes"]
        .into_iter()
        .filter_map(|kind| peaks[kind].as_u64())
        .max();
    match highest {
        None => "–".to_owned(),
        Some(0) => "<1Mi".to_owned(),
        Some(bytes) => mib(&bytes.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_missing_is_marked_in_each_view() {
        let mut out = String::new();
        partial(&mut out, [].into_iter());
        assert_eq!(out, "");
        partial(
            &mut out,
            ["cpu limits: none: at all", "kernel programs: why"].into_iter(),
        );
        assert_eq!(
            out,
            "  Partial: cpu limits, kernel programs (reasons at the start)\n"
        );
    }

    #[test]
    fn a_peak_is_the_highest_that_anybody_saw() {
        let check = |peaks: Value, shown: &str| assert_eq!(peak(&peaks), shown, "{peaks}");
        check(json!({}), "–");
        check(json!({"sampled_bytes": 0, "lifetime_bytes": null}), "<1Mi");
        check(
            json!({"sampled_bytes": 0, "lifetime_bytes": 9 << 20}),
            "9Mi",
        );
        check(json!({"sampled_bytes": 1}), "1Mi");
    }

    #[test]
    fn a_long_name_is_shortened_in_its_middle_and_moves_no_column() {
        assert_eq!(shortened("shop/api", 8), "shop/api");
        assert_eq!(shortened("shop/api-é", 8), "shop…i-é");
        let workload = |name: &str| json!({"namespace": "shop", "workload": name, "current": {"request_millicores": 77}});
        let long = "a-deployment-whose-name-goes-on-and-on-v2";
        let sizing = json!({"recommendations": [workload("api"), workload(long)]});
        let access = json!({"event": {"event": "imds", "request": {"class": "CRED", "outcome": "ok"}},
            "joined": {"namespace": "shop", "pod": long}});
        let text = text(&sizing, &[access], &json!({}), Duration::ZERO);
        let columns: Vec<usize> = text
            .lines()
            .filter_map(|line| Some(line.split_once("77m")?.0.chars().count()))
            .collect();
        assert_eq!(columns, [columns[0]; 2], "{text}");
        assert!(
            text.lines().all(|line| line.chars().count() < 120),
            "{text}"
        );
        assert_eq!(text.matches("on-v2").count(), 2, "{text}");
    }

    #[test]
    fn a_line_for_each_workload_and_each_kind_of_access() {
        let sizing = json!({"recommendations": [{"namespace": "shop", "workload": "api", "current": {"request_millicores": 100},
            "cpu": {"request_millicores": 50, "statistics": {"minute_means": {"p95_millicores": 47}}}, "memory": {}}]});
        let access = json!({"event": {"event": "imds", "request": {"imds_version": "v1", "class": "CRED", "outcome": "ok"}},
            "joined": {"namespace": "shop", "pod": "report-1"}});
        let text = text(
            &sizing,
            &[access.clone(), access],
            &json!({}),
            Duration::from_secs(5),
        );
        assert!(text.contains("shop/api"), "{text}");
        assert!(text.contains("47m"), "{text}");
        assert!(text.contains("shop/report-1"), "{text}");
        assert!(text.contains("v1 CRED"), "{text}");
        assert!(text.contains("× 2"), "{text}");
        assert!(text.contains('–'), "unknown is shown as unknown: {text}");
    }
}
