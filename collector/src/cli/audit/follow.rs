//! `plimsoll audit tail -f`: events as the collector gets them, each once.

use std::collections::{BTreeSet, VecDeque};
use std::io::Write;
use std::time::Duration;

use serde_json::Value;

use super::{Answer, COLUMNS, row, text};
use crate::cli::{CliError, ClientError, Exit, Output, TailArgs, table};
use crate::errors::chain;

/// Ids remembered when following: more than the collector can bring again after it was started anew.
const MAX_KNOWN: usize = 16_384;
/// Time between two questions when following.
const FOLLOW_EVERY: Duration = Duration::from_secs(1);
/// The same while the collector does not answer, at the most.
const FOLLOW_AT_LEAST_EVERY: Duration = Duration::from_secs(30);

/// Where a follower goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// The cursor of the last answer.
    pub(super) after: String,
    /// When the following began: what is older and on file at a collector that was started anew is
    /// nothing new. A time and not an age, which would move on.
    pub(super) since: String,
}

/// Asks again and again for what the collector got after the last answer. The order is that of
/// arrival: an access is told seconds after it began, a node's backlog hours after. Goes on where it
/// was when a collector that was gone is back: the cursor of an earlier life brings all that the new
/// one got, and of what was on file what happened since the following began; what is known already
/// is not printed again.
pub(super) fn follow(
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::{FOLLOW_LIMIT, parameters};
    use super::*;
    use crate::cli::Which;

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
            hint: String::new(),
            url: "http://here".to_owned(),
            source: Box::new(ureq::Error::ConnectionFailed),
        }
    }

    /// The collector is started anew: another life's cursor, and events that come again.
    #[test]
    fn a_follower_goes_on_where_it_was_when_the_collector_is_back() {
        let args = TailArgs {
            collector: crate::cli::Collector::default(),
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
