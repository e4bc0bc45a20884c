//! `plimsoll audit tail`, `query`, `accounting`, `export` and `verify`.

mod arguments;
mod export;
mod follow;
mod verify;

use std::io::Write;

use serde::Deserialize;
use serde_json::Value;

pub(super) use arguments::{ExportArgs, ExportFormat, VerifyArgs};
pub(super) use export::{ExportError, export};
use follow::{Place, follow};
pub(super) use verify::{VerifyError, verify};

use super::table::{self, Column};
use super::{
    AccountingArgs, CliError, Client, Exit, Output, QueryArgs, TailArgs, Which, client, print_json,
};
use crate::api::AccountingDocument;
use crate::sizing::memory::mib;

const PATH: &str = "/api/v1/audit";
/// Events asked for at once when following; the rest is asked for by the next question.
const FOLLOW_LIMIT: u64 = 5000;
const COLUMNS: &[Column] = &[
    Column::Left("TIME"),
    Column::Left("WHO"),
    Column::Left("PROCESS"),
    Column::Left("CLASS"),
    Column::Left("VERSION"),
    Column::Right("STATUS"),
    Column::Left("OUTCOME"),
    Column::Left("WHAT"),
];

/// The document of `/api/v1/audit`, newest first.
#[derive(Deserialize)]
struct Answer {
    as_of: String,
    events: Vec<Value>,
    more: bool,
    cursor: String,
}

fn parameters(
    which: &Which,
    place: Option<Place>,
    limit: u64,
) -> [(&'static str, Option<String>); 6] {
    let (after, since) = match place {
        Some(Place { after, since }) => (Some(after), Some(since)),
        None => (None, which.since.clone()),
    };
    [
        ("class", which.class.clone()),
        ("namespace", which.namespace.clone()),
        ("workload", which.workload.clone()),
        ("since", since),
        ("after", after),
        ("limit", Some(limit.to_string())),
    ]
}

pub(super) fn query(args: &QueryArgs, out: &mut dyn Write) -> Result<Exit, CliError> {
    let client = Client::new(&args.collector)?;
    let document: Value = client.get(PATH, &parameters(&args.which, None, args.limit))?;
    match args.output {
        Output::Json => print_json(&document, out)?,
        Output::Table => {
            let events = events_of(&document);
            let rows: Vec<Vec<String>> = events.iter().map(row).collect();
            table::print(COLUMNS, &rows, out)?;
            if document.get("more") == Some(&Value::Bool(true)) {
                writeln!(out, "\nMore events match: raise --limit.")?;
            }
        }
    }
    Ok(Exit::Success)
}

fn events_of(document: &Value) -> Vec<Value> {
    document
        .get("events")
        .and_then(Value::as_array)
        .cloned()
        .unwrap_or_default()
}

pub(super) fn tail(
    args: &TailArgs,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> Result<Exit, CliError> {
    let client = Client::new(&args.collector)?;
    if args.follow {
        let ask = |place| client.get(PATH, &parameters(&args.which, place, FOLLOW_LIMIT));
        return follow(ask, client::wait, args, out, err);
    }
    let mut document: Value = client.get(PATH, &parameters(&args.which, None, args.lines))?;
    if let Some(events) = document.get_mut("events").and_then(Value::as_array_mut) {
        events.reverse();
    }
    let first = events_of(&document);
    match args.output {
        Output::Json => print_json(&document, out)?,
        Output::Table => {
            table::print(COLUMNS, &first.iter().map(row).collect::<Vec<_>>(), out)?;
        }
    }
    Ok(Exit::Success)
}

fn text(event: &Value, pointer: &str) -> String {
    let pointer = if pointer.starts_with('/') {
        pointer.to_owned()
    } else {
        format!("/{pointer}")
    };
    match event.pointer(&pointer) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Null) | None => String::new(),
        Some(other) => other.to_string(),
    }
}

fn row(event: &Value) -> Vec<String> {
    let at = |pointer: &str| text(event, pointer);
    let amount = |field: &str, shown: fn(u64) -> String, absent: &str| {
        let known = event.get(field).and_then(Value::as_u64);
        known.map_or_else(|| absent.to_owned(), shown)
    };
    let time = at("time")
        .split('.')
        .next()
        .unwrap_or_default()
        .trim_end_matches('Z')
        .replace('T', " ");
    let who = Some(at("/names/subject"))
        .filter(|who| !who.is_empty())
        .unwrap_or_else(|| format!("node {}", at("node")));
    let kind = at("event");
    let (process, class, what) = match kind.as_str() {
        "imds" => (
            format!("{} {}", at("/process/comm"), at("/process/pid")),
            at("/request/class"),
            format!("{} {}", at("/request/method"), at("/request/path")),
        ),
        "oom_kill" => (
            format!("{} {}", at("victim_comm"), at("victim_pid")),
            kind,
            format!(
                "held {} of anonymous memory; container's peak {}, limit {}",
                amount("anon_rss_bytes", mib, "unknown"),
                amount("memory_peak_bytes", mib, "unknown"),
                amount("memory_limit_bytes", mib, "none or unknown"),
            ),
        ),
        "container_end" => (
            String::new(),
            kind,
            format!(
                "CPU time used {}",
                amount("cpu_used_ns", cpu_time, "unknown")
            ),
        ),
        "loss" => (
            String::new(),
            kind,
            format!(
                "{} {} records {} at {}",
                at("count"),
                at("lost_class"),
                at("fate"),
                at("stage")
            ),
        ),
        "misplaced" => (
            String::new(),
            kind,
            format!(
                "{} sent {} records about pods on other nodes, the first {} on {}",
                at("sender"),
                at("count"),
                at("pod_uid"),
                at("pod_node")
            ),
        ),
        _ => (String::new(), kind, String::new()),
    };
    vec![
        time,
        who,
        process,
        class,
        at("/request/imds_version"),
        at("/request/status"),
        at("/request/outcome"),
        what,
    ]
}

/// Nanoseconds for people: `3 ms`, `12.3 s`.
fn cpu_time(ns: u64) -> String {
    match ns {
        0..1_000 => format!("{ns} ns"),
        1_000..1_000_000 => format!("{} µs", ns / 1_000),
        1_000_000..1_000_000_000 => format!("{} ms", ns / 1_000_000),
        _ => format!("{:.1} s", ns as f64 / 1e9),
    }
}

pub(super) fn accounting(args: &AccountingArgs, out: &mut dyn Write) -> Result<Exit, CliError> {
    let document: AccountingDocument =
        Client::new(&args.collector)?.get("/api/v1/accounting", &[])?;
    print_accounting(&document, args.output, out)?;
    Ok(if document.balanced {
        Exit::Success
    } else {
        Exit::Found
    })
}

const HEADS: [&str; 11] = [
    "EMITTED",
    "LOST",
    "UNDECODABLE",
    "FILTERED",
    "SHED",
    "EXPIRED",
    "REJECTED",
    "QUARANTINED",
    "DELIVERED",
    "IN FLIGHT",
    "UNACCOUNTED",
];

/// Prints the document in one of its forms.
pub(super) fn print_accounting(
    document: &AccountingDocument,
    output: Output,
    out: &mut dyn Write,
) -> Result<(), CliError> {
    if output == Output::Json {
        return print_json(document, out);
    }
    let mut columns = vec![
        Column::Left("NODE"),
        Column::Left("STAGE"),
        Column::Left("CLASS"),
    ];
    columns.extend(HEADS.map(Column::Right));
    let rows: Vec<Vec<String>> = document
        .stages
        .iter()
        .map(|stage| {
            let (row, f) = (&stage.row, &stage.row.fates);
            let name = match &row.destination {
                Some(destination) => format!("{} → {destination}", row.stage),
                None => row.stage.clone(),
            };
            let numbers = [
                f.emitted,
                f.lost,
                f.undecodable,
                f.filtered,
                f.shed,
                f.expired,
                f.rejected,
                f.quarantined,
                f.delivered,
                f.in_flight,
            ];
            let mut cells = vec![
                row.node.clone().unwrap_or_else(|| "collector".to_owned()),
                name,
                row.class.clone(),
            ];
            cells.extend(numbers.iter().map(u64::to_string));
            cells.push(stage.unaccounted.to_string());
            cells
        })
        .collect();
    table::print(&columns, &rows, out)?;
    let verdict = if document.balanced {
        "every record has its fate"
    } else {
        "the law does not hold"
    };
    writeln!(
        out,
        "\n{} records unaccounted for: {verdict}.",
        document.unaccounted
    )?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn amounts_are_told_in_the_units_of_people() {
        let told = |event: Value| row(&event).pop().unwrap();
        let end = |ns: Value| told(json!({"event": "container_end", "cpu_used_ns": ns}));
        assert_eq!(end(json!(850)), "CPU time used 850 ns");
        assert_eq!(end(json!(3_900_000)), "CPU time used 3 ms");
        assert_eq!(end(json!(12_340_000_000_u64)), "CPU time used 12.3 s");
        assert_eq!(end(Value::Null), "CPU time used unknown");
        let kill =
            json!({"event": "oom_kill", "anon_rss_bytes": 64 << 20, "memory_peak_bytes": null});
        assert_eq!(
            told(kill),
            "held 64 MiB of anonymous memory; container's peak unknown, limit none or unknown"
        );
    }
}
