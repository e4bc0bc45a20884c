//! Reading back: the pages of GetLogEvents and their tokens, as a pure function of what is seen.
//!
//! Events are in order of their own time, those of one time in the order in which they came. A token
//! is a place in that order, not a number of events, so that what comes later does not move it. At
//! the end a token is the one that was given: that alone tells the end, not a page without events.

use std::fmt;
use std::str::FromStr;

use super::error::AwsError;
use super::store::StoredEvent;

/// Bytes of a page: its messages and what each event weighs.
const PAGE_BYTES_AT_MOST: usize = 1_048_576;
/// Events of a page when nothing is said, and at most.
pub(super) const PAGE_EVENTS_AT_MOST: usize = 10_000;

/// A place before or after an event: its time and its number in the stream.
type Place = (i64, usize);

/// Where a page begins or ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Token {
    forward: bool,
    /// After it, forward; before it, backward.
    place: Place,
    /// Empty pages before: they lead on, and are the same place.
    empty: u32,
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let direction = if self.forward { 'f' } else { 'b' };
        let (time, number) = self.place;
        write!(f, "{direction}/{time}/{number}/{}/s", self.empty)
    }
}

impl FromStr for Token {
    type Err = AwsError;

    fn from_str(text: &str) -> Result<Self, AwsError> {
        let invalid = || AwsError::invalid_parameter("The specified nextToken is invalid.");
        let parts: Vec<&str> = text.split('/').collect();
        let [direction @ ("f" | "b"), time, number, empty, "s"] = parts[..] else {
            return Err(invalid());
        };
        Ok(Self {
            forward: direction == "f",
            place: (
                time.parse().map_err(|_| invalid())?,
                number.parse().map_err(|_| invalid())?,
            ),
            empty: empty.parse().map_err(|_| invalid())?,
        })
    }
}

/// What a reader asks for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    /// From that time on, Unix milliseconds.
    pub(super) start_ms: Option<i64>,
    /// Before that time.
    pub(super) end_ms: Option<i64>,
    /// 1 to [`PAGE_EVENTS_AT_MOST`].
    pub(super) limit: usize,
    pub(super) token: Option<Token>,
    pub(super) from_head: bool,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Page<'a> {
    pub(super) events: Vec<&'a StoredEvent>,
    pub(super) forward: Token,
    pub(super) backward: Token,
}

/// The page of a stream of which `seen` can be read, with their numbers in it.
pub(super) fn page<'a>(seen: &[(usize, &'a StoredEvent)], asked: Asked) -> Page<'a> {
    let within = |time: i64| {
        asked.start_ms.is_none_or(|start| time >= start)
            && asked.end_ms.is_none_or(|end| time < end)
    };
    let mut events: Vec<(Place, &StoredEvent)> = seen
        .iter()
        .filter(|(_, event)| within(event.timestamp_ms))
        .map(|(number, event)| ((event.timestamp_ms, *number), *event))
        .collect();
    events.sort_unstable_by_key(|(place, _)| *place);
    let forward = asked.token.map_or(asked.from_head, |token| token.forward);
    if let Some(token) = asked.token {
        events.retain(|(place, _)| {
            if forward {
                *place > token.place
            } else {
                *place < token.place
            }
        });
    }
    cut(&mut events, asked.limit, forward);
    let token = |forward: bool, place: Option<Place>| match (place, asked.token) {
        (Some(place), _) => Token {
            forward,
            place,
            empty: 0,
        },
        // Nothing: the same place, and the same token in the direction that was asked.
        (None, Some(token)) => Token { forward, ..token },
        (None, None) => Token {
            forward,
            place: (-1, 0),
            empty: 0,
        },
    };
    Page {
        forward: token(true, events.last().map(|(place, _)| *place)),
        backward: token(false, events.first().map(|(place, _)| *place)),
        events: events.into_iter().map(|(_, event)| event).collect(),
    }
}

/// A page without events that leads to the same place by another token.
pub(super) fn empty(asked: Asked) -> Page<'static> {
    let mut page = page(&[], asked);
    page.forward.empty = page.forward.empty.saturating_add(1);
    page.backward.empty = page.backward.empty.saturating_add(1);
    page
}

/// Leaves what fits on a page, from the side that is read.
fn cut(events: &mut Vec<(Place, &StoredEvent)>, limit: usize, forward: bool) {
    let mut bytes = 0;
    let fits = |(_, event): &&(Place, &StoredEvent)| {
        bytes += event.message.len() + super::judge::EVENT_OVERHEAD_BYTES;
        bytes <= PAGE_BYTES_AT_MOST
    };
    if forward {
        let count = events.iter().take(limit).take_while(fits).count();
        events.truncate(count);
    } else {
        let count = events.iter().rev().take(limit).take_while(fits).count();
        events.drain(..events.len().saturating_sub(count));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn stored(timestamps: &[i64]) -> Vec<StoredEvent> {
        let event = |(number, time): (usize, &i64)| StoredEvent {
            timestamp_ms: *time,
            message: format!("m{number}"),
            ingestion_ms: 0,
            request: 0,
        };
        timestamps.iter().enumerate().map(event).collect()
    }

    fn seen(events: &[StoredEvent]) -> Vec<(usize, &StoredEvent)> {
        events.iter().enumerate().collect()
    }

    fn head(limit: usize, token: Option<Token>) -> Asked {
        Asked {
            start_ms: None,
            end_ms: None,
            limit,
            token,
            from_head: true,
        }
    }

    fn messages(page: &Page<'_>) -> Vec<String> {
        page.events.iter().map(|e| e.message.clone()).collect()
    }

    #[test]
    fn the_token_of_the_end_is_the_one_that_was_given() {
        let events = stored(&[5, 3, 5]);
        let first = page(&seen(&events), head(2, None));
        assert_eq!(messages(&first), ["m1", "m0"]);
        let second = page(&seen(&events), head(2, Some(first.forward)));
        assert_eq!(messages(&second), ["m2"]);
        assert_ne!(second.forward, first.forward);
        let end = page(&seen(&events), head(2, Some(second.forward)));
        assert_eq!((end.events.len(), end.forward), (0, second.forward));
        // What comes later is found from there.
        let more = stored(&[5, 3, 5, 6]);
        let next = page(&seen(&more), head(2, Some(end.forward)));
        assert_eq!(messages(&next), ["m3"]);
    }

    #[test]
    fn a_stream_without_events_has_a_token_that_finds_the_first() {
        let first = page(&[], head(10, None));
        let again = page(&[], head(10, Some(first.forward)));
        assert_eq!(again.forward, first.forward);
        let events = stored(&[0]);
        let found = page(&seen(&events), head(10, Some(first.forward)));
        assert_eq!(messages(&found), ["m0"]);
    }

    #[test]
    fn an_empty_page_leads_on_and_passes_over_nothing() {
        let events = stored(&[1, 2]);
        let first = empty(head(10, None));
        let second = empty(head(10, Some(first.forward)));
        assert_ne!(second.forward, first.forward);
        let found = page(&seen(&events), head(10, Some(second.forward)));
        assert_eq!(messages(&found), ["m0", "m1"]);
    }

    #[test]
    fn without_a_head_the_newest_come_and_lead_back() {
        let events = stored(&[1, 2, 3]);
        let tail = |token| Asked {
            from_head: false,
            ..head(2, token)
        };
        let newest = page(&seen(&events), tail(None));
        assert_eq!(messages(&newest), ["m1", "m2"]);
        let before = page(&seen(&events), tail(Some(newest.backward)));
        assert_eq!(messages(&before), ["m0"]);
        let end = page(&seen(&events), tail(Some(before.backward)));
        assert_eq!((end.events.len(), end.backward), (0, before.backward));
    }

    #[test]
    fn times_are_from_and_before() {
        let events = stored(&[1, 2, 3]);
        let asked = Asked {
            start_ms: Some(2),
            end_ms: Some(3),
            ..head(10, None)
        };
        assert_eq!(messages(&page(&seen(&events), asked)), ["m1"]);
    }

    #[test]
    fn a_page_has_a_mebibyte() {
        let mut events = stored(&[1, 2, 3]);
        for event in &mut events {
            event.message = "x".repeat(524_288 - 26);
        }
        assert_eq!(page(&seen(&events), head(10, None)).events.len(), 2);
        events[1].message.push('x');
        assert_eq!(page(&seen(&events), head(10, None)).events.len(), 1);
        // The largest event fills one on its own.
        events[0].message = "x".repeat(1_048_550);
        assert_eq!(page(&seen(&events), head(10, None)).events.len(), 1);
    }

    #[test]
    fn tokens_are_read_back_or_refused() {
        for token in [page(&[], head(1, None)), empty(head(1, None))].map(|p| p.forward) {
            assert_eq!(token.to_string().parse::<Token>(), Ok(token));
        }
        for bad in [
            "",
            "f/1/2",
            "x/1/2/0/s",
            "f/a/2/0/s",
            "f/1/2/0/s/",
            "f/1/-2/0/s",
        ] {
            assert!(bad.parse::<Token>().is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn pages_of_any_size_are_the_stream_once(
            timestamps in prop::collection::vec(0_i64..20, 0..40),
            limit in 1_usize..12,
        ) {
            let events = stored(&timestamps);
            let mut sorted: Vec<_> = events.iter().collect();
            sorted.sort_by_key(|event| event.timestamp_ms);
            let (mut read, mut token) = (Vec::new(), None);
            loop {
                let next = page(&seen(&events), head(limit, token));
                read.extend(next.events);
                if token == Some(next.forward) {
                    break;
                }
                token = Some(next.forward);
            }
            prop_assert_eq!(read, sorted);
        }
    }
}
