//! `plimsoll audit tail`, `query` and `accounting`.

use std::collections::{BTreeSet, VecDeque};
use std::io::Write;
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use super::table::{self, Column};
use super::{
    AccountingArgs, CliError, Client, ClientError, Exit, Output, QueryArgs, TailArgs, Which,
    client, print_json,
};
use crate::api::AccountingDocument;
use crate::errors::chain;
use crate::sizing::memory::mib;

const PATH: &str = "/api/v1/audit";
/// Events asked for at once when following; the rest is asked for by the next question.
const FOLLOW_LIMIT: u64 = 5000;
/// Ids remembered when following: more than the collector can bring again after it was started anew.
const MAX_KNOWN: usize = 16_384;
/// Time between two questions when following.
const FOLLOW_EVERY: Duration = Duration::from_secs(1);
/// The same while the collector does not answer, at the most.
const FOLLOW_AT_LEAST_EVERY: Duration = Duration::from_secs(30);

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

/// Where a follower goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Place {
    /// The cursor of the last answer.
    after: String,
    /// When the following began: what is older and on file at a collector that was started anew is
    /// nothing new. A time and not an age, which would move on.
    since: String,
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
    let client = Client::new(&args.server.server);
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
    let client = Client::new(&args.server.server);
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

/// Asks again and again for what the collector got after the last answer. The order is that of
/// arrival: an access is told seconds after it began, a node's backlog hours after. Goes on where it
/// was when a collector that was gone is back: the cursor of an earlier life brings all that the new
/// one got, and of what was on file what happened since the following began; what is known already
/// is not printed again.
fn follow(
    mut ask: impl FnMut(Option<Place>) -> Result<Answer, ClientError>,
    mut wait: impl FnMut(Duration),
    args: &TailArgs,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> Result<Exit, CliError> {
    let first = ask(None)?;
    let mut known = Known::default();
    let mut shown = first.events;
    shown.reverse();
    known.fresh(&mut shown);
    let lines = usize::try_from(args.lines).unwrap_or(usize::MAX);
    let shown = shown.split_off(shown.len().saturating_sub(lines));
    let mut printer = Printer::new(args.output, &shown);
    printer.print(&shown, out)?;
    let mut place = Place {
        after: first.cursor,
        since: first.as_of,
    };
    let mut pause = Some(FOLLOW_EVERY);
    let mut is_gone = false;
    loop {
        if let Some(pause) = pause {
            wait(pause);
        }
        let mut answer = match ask(Some(place.clone())) {
            Ok(answer) => answer,
            Err(error) if error.may_pass() => {
                if !is_gone {
                    writeln!(err, "plimsoll: {}; trying again", chain(&error))?;
                }
                is_gone = true;
                let longer = pause.map_or(FOLLOW_EVERY, |pause| pause.saturating_mul(2));
                pause = Some(longer.min(FOLLOW_AT_LEAST_EVERY));
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        if is_gone {
            writeln!(err, "plimsoll: the collector answers again; going on")?;
            is_gone = false;
        }
        known.fresh(&mut answer.events);
        printer.print(&answer.events, out)?;
        place.after = answer.cursor;
        pause = (!answer.more).then_some(FOLLOW_EVERY);
    }
}

/// Ids of events that were had: a collector that was started anew brings some again.
#[derive(Default)]
struct Known {
    ids: BTreeSet<String>,
    order: VecDeque<String>,
}

impl Known {
    /// Leaves what was not there before.
    fn fresh(&mut self, events: &mut Vec<Value>) {
        events.retain(|event| {
            let id = text(event, "id");
            let is_new = self.ids.insert(id.clone());
            if is_new {
                self.order.push_back(id);
            }
            is_new
        });
        while self.order.len() > MAX_KNOWN {
            if let Some(oldest) = self.order.pop_front() {
                self.ids.remove(&oldest);
            }
        }
    }
}

/// Prints events as they come, in columns of one width.
struct Printer {
    output: Output,
    widths: Vec<usize>,
    headed: bool,
}

impl Printer {
    fn new(output: Output, first: &[Value]) -> Self {
        let rows: Vec<Vec<String>> = first.iter().map(row).collect();
        Self {
            output,
            widths: table::widths(COLUMNS, &rows),
            headed: false,
        }
    }

    fn print(&mut self, events: &[Value], out: &mut dyn Write) -> Result<(), CliError> {
        if self.output == Output::Table && !self.headed {
            self.headed = true;
            table::print(COLUMNS, &events.iter().map(row).collect::<Vec<_>>(), out)?;
        } else {
            for event in events {
                match self.output {
                    Output::Table => table::print_row(COLUMNS, &self.widths, &row(event), out)?,
                    Output::Json => writeln!(out, "{event}")?,
                }
            }
        }
        out.flush()?;
        Ok(())
    }
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
        Client::new(&args.server.server).get("/api/v1/accounting", &[])?;
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

    fn answer(ids: impl IntoIterator<Item = usize>, cursor: &str) -> Answer {
        // Each answer is of another time: only the first one's counts.
        Answer {
            as_of: format!("at {cursor}"),
            events: events(ids),
            more: false,
            cursor: cursor.to_owned(),
        }
    }

    fn refused(status: u16) -> ClientError {
        ClientError::Refused {
            url: "http://here".to_owned(),
            status,
            message: "no".to_owned(),
        }
    }

    fn gone() -> ClientError {
        ClientError::Unreachable {
            url: "http://here".to_owned(),
            source: Box::new(ureq::Error::ConnectionFailed),
        }
    }

    /// The collector is started anew: another life's cursor, and events that come again.
    #[test]
    fn a_follower_goes_on_where_it_was_when_the_collector_is_back() {
        let args = TailArgs {
            server: crate::cli::Server {
                server: String::new(),
            },
            which: Which {
                class: None,
                namespace: None,
                workload: None,
                since: Some("1h".to_owned()),
            },
            lines: 20,
            follow: true,
            output: Output::Json,
        };
        let mut script = VecDeque::from([
            (None, Ok(answer([2, 1], "a.2"))),
            (Some("a.2"), Ok(answer([3], "a.3"))),
            (Some("a.3"), Err(gone())),
            (Some("a.3"), Err(refused(503))),
            (Some("a.3"), Err(gone())),
            (Some("a.3"), Ok(answer([1, 2, 3, 4], "b.4"))),
            (Some("b.4"), Ok(answer([5], "b.5"))),
            (Some("b.5"), Err(refused(400))),
        ]);
        let (mut out, mut err, mut pauses) = (Vec::new(), Vec::new(), Vec::new());
        let ask = |place: Option<Place>| {
            let (wanted, answer) = script.pop_front().unwrap();
            let wanted = wanted.map(|after| Place {
                after: after.to_owned(),
                since: "at a.2".to_owned(),
            });
            assert_eq!(place, wanted);
            let asked = parameters(&args.which, place, FOLLOW_LIMIT);
            let since = wanted.map_or_else(|| "1h".to_owned(), |wanted| wanted.since);
            assert!(asked.contains(&("since", Some(since))), "{asked:?}");
            answer
        };
        let wait = |pause: Duration| pauses.push(pause.as_secs());
        let end = follow(ask, wait, &args, &mut out, &mut err).unwrap_err();
        assert!(matches!(
            end,
            CliError::Client(ClientError::Refused { status: 400, .. })
        ));
        let printed: Vec<Value> = String::from_utf8(out)
            .unwrap()
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(printed, events([1, 2, 3, 4, 5]));
        assert_eq!(pauses, [1, 1, 2, 4, 8, 1, 1]);
        let told = String::from_utf8(err).unwrap();
        let told: Vec<&str> = told.lines().collect();
        assert_eq!(told.len(), 2, "{told:?}");
        assert!(told[0].contains("http://here") && told[0].ends_with("; trying again"));
        assert!(told[1].ends_with("the collector answers again; going on"));
    }

    fn events(ids: impl IntoIterator<Item = usize>) -> Vec<Value> {
        ids.into_iter()
            .map(|id| json!({ "id": format!("n/e/s/{id}") }))
            .collect()
    }

    fn fresh(known: &mut Known, ids: impl IntoIterator<Item = usize>) -> Vec<Value> {
        let mut events = events(ids);
        known.fresh(&mut events);
        events
    }

    #[test]
    fn what_comes_again_is_not_shown_again() {
        let mut known = Known::default();
        assert_eq!(fresh(&mut known, [1, 2]), events([1, 2]));
        assert_eq!(
            fresh(&mut known, [2, 3, 1, 3]),
            events([3]),
            "nor within one answer"
        );
        assert_eq!(fresh(&mut known, [1, 2, 3]), events([]));
    }

    #[test]
    fn as_many_as_the_bound_are_remembered_and_the_oldest_forgotten() {
        let mut known = Known::default();
        fresh(&mut known, 0..MAX_KNOWN);
        assert_eq!(fresh(&mut known, [0, MAX_KNOWN - 1]), events([]));
        // One more pushes the first out, and only that.
        assert_eq!(fresh(&mut known, [MAX_KNOWN]), events([MAX_KNOWN]));
        assert_eq!(fresh(&mut known, [1]), events([]));
        assert_eq!(fresh(&mut known, [0]), events([0]));
        assert_eq!((known.ids.len(), known.order.len()), (MAX_KNOWN, MAX_KNOWN));
    }
}
