//! What a body has in it: JSON objects one behind the other, each with an `event`. Pure.

use serde::Deserialize;
use serde_json::value::RawValue;

/// An event as it was stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// The value of `event`, its bytes as they came.
    pub event: String,
    /// Unix milliseconds, of `time`.
    pub time_ms: u64,
    /// As it was given.
    pub index: Option<String>,
    /// As it was given.
    pub source: Option<String>,
    /// As it was given.
    pub sourcetype: Option<String>,
    /// As it was given.
    pub host: Option<String>,
}

/// What is refused of a body, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wrong {
    pub(super) code: i64,
    pub(super) text: &'static str,
    /// The object's place, from 0.
    pub(super) place: Option<usize>,
}

/// What was read of a body up to where it ends, or is wrong.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Read {
    pub(super) events: Vec<Stored>,
    /// Objects without `event`.
    pub(super) skipped: usize,
    pub(super) wrong: Option<Wrong>,
}

/// An object. A key that Splunk does not know is none of ours.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Object {
    time: f64,
    event: Option<Box<RawValue>>,
    index: Option<String>,
    source: Option<String>,
    sourcetype: Option<String>,
    host: Option<String>,
}

/// Reads a body; `may_write` says of an index whether it may be written to, `is_poison` of an event
/// whether it is refused.
pub(super) fn read(
    body: &[u8],
    may_write: impl Fn(&str) -> bool,
    is_poison: impl Fn(&str) -> bool,
) -> Read {
    let mut read = Read::default();
    let objects = serde_json::Deserializer::from_slice(body).into_iter::<Object>();
    for (place, object) in objects.enumerate() {
        let wrong = |code, text| {
            let place = Some(place);
            Some(Wrong { code, text, place })
        };
        let Ok(object) = object else {
            read.wrong = wrong(6, "Invalid data format");
            return read;
        };
        let Some(event) = object.event else {
            read.skipped += 1;
            continue;
        };
        read.wrong = if event.get() == "\"\"" {
            wrong(13, "Event field cannot be blank")
        } else if !object.index.as_deref().is_none_or(&may_write) {
            wrong(7, "Incorrect index")
        } else if is_poison(event.get()) || !(0.0..1e11).contains(&object.time) {
            wrong(6, "Invalid data format")
        } else {
            None
        };
        if read.wrong.is_some() {
            return read;
        }
        read.events.push(Stored {
            event: event.get().to_owned(),
            time_ms: millis(object.time),
            index: object.index,
            source: object.source,
            sourcetype: object.sourcetype,
            host: object.host,
        });
    }
    if read.events.is_empty() && read.skipped == 0 {
        let (code, text) = (5, "No data");
        let place = None;
        read.wrong = Some(Wrong { code, text, place });
    }
    read
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "between 0 and 10^11 seconds"
)]
fn millis(seconds: f64) -> u64 {
    (seconds * 1000.0).round() as u64
}

/// Whether a channel's name is a GUID.
pub(super) fn is_guid(name: &str) -> bool {
    let lengths: Vec<_> = name.split('-').map(str::len).collect();
    let of_guid = |c: char| c.is_ascii_hexdigit() || c == '-';
    lengths == [8, 4, 4, 4, 12] && name.chars().all(of_guid)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Code and place.
    type Refused = Option<(i64, Option<usize>)>;

    fn of(body: &str) -> (Vec<String>, usize, Refused) {
        let read = read(
            body.as_bytes(),
            |index| index == "main",
            |event| event.contains("bad"),
        );
        let events = read.events.into_iter().map(|stored| stored.event);
        let wrong = read.wrong.map(|wrong| (wrong.code, wrong.place));
        (events.collect(), read.skipped, wrong)
    }

    #[test]
    fn objects_are_read_one_by_one_up_to_one_that_is_wrong() {
        let a = r#"{"time":1.001,"event":{"b" : 1.0}}"#;
        let text = r#"{"b" : 1.0}"#.to_owned();
        assert_eq!(of(&format!("{a}{a}")), (vec![text.clone(); 2], 0, None));
        for (second, code) in [
            (r#"{"time":1,"event":""}"#, 13),
            (r#"{"time":1,"event":{},"index":"other"}"#, 7),
            (r#"{"time":1,"event":"bad"}"#, 6),
            (r#"{"event":{}}"#, 6),
            (r#"{"time":1,"event":{},"evnet":1}"#, 6),
            (r#"{"time":1,"event":{"#, 6),
            ("7", 6),
        ] {
            let expect = (vec![text.clone()], 0, Some((code, Some(1))));
            assert_eq!(of(&format!("{a}{second}{a}")), expect, "{second}");
        }
        let main = r#"{"time":1,"event":{},"index":"main"}"#;
        assert_eq!(of(main).2, None);
        assert_eq!(of(r#"{"time":1}{"time":2}"#), (Vec::new(), 2, None));
        assert_eq!(of(""), (Vec::new(), 0, Some((5, None))));
    }

    #[test]
    fn a_channel_is_a_guid() {
        for (name, is) in [
            ("00000000-0000-4000-8000-00000000000a", true),
            ("00000000-0000-4000-8000-00000000000", false),
            ("00000000-0000-4000-8000-00000000000g", false),
            ("", false),
        ] {
            assert_eq!(is_guid(name), is, "{name}");
        }
    }
}
