//! The forms in which events come: a line each, as they were delivered; or as CloudWatch Logs gives them back: the
//! documents of `aws logs get-log-events` and `filter-log-events`, the lines of `aws logs tail`, and lines of
//! `{"message":…,"timestamp":…}`. Has no opinion of the events.

use std::borrow::Cow;
use std::cell::Cell;
use std::fmt;
use std::io::{self, BufRead, Read};

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// No line, and no event of a document, is longer: an event has a million bytes at the most, and a SIEM may write it in
/// a longer form.
const MAX_BYTES: u64 = 8 << 20;

/// An event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form<'a> {
    /// As it was delivered.
    Plain(&'a [u8]),
    /// Out of what CloudWatch Logs says of it: it keeps no order but that of time, and may have it twice.
    Logged(&'a [u8]),
}

/// Where an event is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum At {
    /// In which line.
    Line(u64),
    /// The how manieth it is.
    Event(u64),
}

/// What is told of each event.
pub(super) type Give<'a> = dyn FnMut(Form<'_>, At) + 'a;

/// What CloudWatch Logs says of an event; by the names that its queries have, too.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Logged<'a> {
    #[serde(borrow, alias = "@message")]
    message: Cow<'a, str>,
    #[serde(default, rename = "timestamp", alias = "@timestamp")]
    _timestamp: IgnoredAny,
    #[serde(default, rename = "ingestionTime", alias = "@ingestionTime")]
    _ingestion_time: IgnoredAny,
    #[serde(default, rename = "logStreamName", alias = "@logStream")]
    _log_stream_name: IgnoredAny,
    #[serde(default, rename = "logGroupName", alias = "@log")]
    _log_group_name: IgnoredAny,
    #[serde(default, rename = "eventId", alias = "@ptr")]
    _event_id: IgnoredAny,
}

/// The same in a page, of which nobody asks whether it is one.
#[derive(Deserialize)]
struct InPage<'a> {
    #[serde(borrow)]
    message: Cow<'a, str>,
}

/// Members of a page, besides its events.
const PAGE: [&str; 5] = [
    "nextForwardToken",
    "nextBackwardToken",
    "nextToken",
    "searchedLogStreams",
    "ResponseMetadata",
];

/// Gives every event of a file.
pub(super) fn read(mut file: impl BufRead, give: &mut Give<'_>) -> io::Result<()> {
    let mut bytes = Vec::new();
    for line in 1.. {
        bytes.clear();
        if file
            .by_ref()
            .take(MAX_BYTES)
            .read_until(b'\n', &mut bytes)?
            == 0
        {
            break;
        }
        let text = bytes.trim_ascii();
        let is_whole = bytes.ends_with(b"\n");
        let opens = text == b"{" || without_prefix(text) == Some(b"");
        if is_whole && opens {
            let rest = io::Cursor::new(bytes).chain(file);
            return documents(rest, give);
        }
        // The last line of a file that is being written may be a part of one.
        let json = without_prefix(text).unwrap_or(text);
        let is_torn = !is_whole && serde_json::from_slice::<IgnoredAny>(json).is_err();
        if !text.is_empty() && !is_torn {
            one(text, At::Line(line), give);
        }
    }
    Ok(())
}

/// A line.
fn one(text: &[u8], at: At, give: &mut Give<'_>) {
    // How events begin, in canonical form: nearly always, and then nothing is parsed.
    if text.starts_with(br#"{"activity_"#) {
        return give(Form::Plain(text), at);
    }
    if let Some(message) = without_prefix(text).filter(|message| !message.is_empty()) {
        return give(Form::Logged(message), at);
    }
    if let Ok(logged) = serde_json::from_slice::<Logged<'_>>(text) {
        return give(Form::Logged(logged.message.trim().as_bytes()), at);
    }
    let page = serde_json::from_slice::<Page<'_>>(text);
    match page {
        Ok(page) => {
            for logged in page.events {
                give(Form::Logged(logged.message.trim().as_bytes()), at);
            }
        }
        Err(_) => give(Form::Plain(text), at),
    }
}

/// A page in one line.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Page<'a> {
    #[serde(borrow)]
    events: Vec<InPage<'a>>,
    #[serde(default, rename = "nextForwardToken")]
    _forward: IgnoredAny,
    #[serde(default, rename = "nextBackwardToken")]
    _backward: IgnoredAny,
    #[serde(default, rename = "nextToken")]
    _next: IgnoredAny,
    #[serde(default, rename = "searchedLogStreams")]
    _searched: IgnoredAny,
    #[serde(default, rename = "ResponseMetadata")]
    _metadata: IgnoredAny,
}

/// The message of a line that `aws logs tail` has written: `TIME STREAM MESSAGE`, or `TIME MESSAGE`.
fn without_prefix(line: &[u8]) -> Option<&[u8]> {
    let brace = line.iter().position(|byte| *byte == b'{');
    let (before, message) = line.split_at(brace.unwrap_or(line.len()));
    let time = before.split(|byte| *byte == b' ').next()?;
    let time = str::from_utf8(time).ok()?;
    let is_time = time.parse::<jiff::Timestamp>().is_ok()
        || time.contains('T') && time.parse::<jiff::civil::DateTime>().is_ok();
    is_time.then_some(message)
}

/// Documents over many lines, one behind the other, perhaps with what `aws logs tail` puts before each.
fn documents(file: impl BufRead, give: &mut Give<'_>) -> io::Result<()> {
    let left = Cell::new(MAX_BYTES);
    let mut file = Bounded { file, left: &left };
    let mut number = 0;
    loop {
        left.set(MAX_BYTES);
        let between = file.up_to_brace()?;
        let between = between.trim_ascii();
        let is_of_tail = without_prefix(between) == Some(b"");
        if !between.is_empty() && !is_of_tail {
            number += 1;
            give(Form::Plain(between), At::Event(number));
        }
        if file.file.fill_buf()?.is_empty() {
            return Ok(());
        }
        let document = Document {
            left: &left,
            number: &mut number,
            is_of_tail,
            give,
        };
        let mut json = serde_json::Deserializer::from_reader(&mut file);
        document.deserialize(&mut json)?;
    }
}

/// What is read of a file, until the bound of one event is reached.
struct Bounded<'a, R> {
    file: R,
    left: &'a Cell<u64>,
}

impl<R: BufRead> Bounded<'_, R> {
    /// What is before the next brace, or the end.
    fn up_to_brace(&mut self) -> io::Result<Vec<u8>> {
        let mut before = Vec::new();
        loop {
            let bytes = self.file.fill_buf()?;
            let brace = bytes.iter().position(|byte| *byte == b'{');
            let count = brace.unwrap_or(bytes.len());
            before.extend(bytes.iter().take(count));
            let is_end = bytes.is_empty() || brace.is_some();
            self.file.consume(count);
            self.spend(count)?;
            if is_end {
                return Ok(before);
            }
        }
    }

    fn spend(&self, bytes: usize) -> io::Result<()> {
        let left = self.left.get().checked_sub(bytes as u64);
        let left = left
            .ok_or_else(|| io::Error::other(format!("an event has more than {MAX_BYTES} bytes")))?;
        self.left.set(left);
        Ok(())
    }
}

impl<R: BufRead> Read for Bounded<'_, R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read(into)?;
        self.spend(count)?;
        Ok(count)
    }
}

/// An object: a page, or an event.
struct Document<'a, 'g> {
    left: &'a Cell<u64>,
    number: &'a mut u64,
    /// It is the message of an event in a log.
    is_of_tail: bool,
    give: &'a mut Give<'g>,
}

impl<'de> DeserializeSeed<'de> for Document<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Document<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an event, or a document of events of CloudWatch Logs")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        let mut others: Vec<(String, Box<RawValue>)> = Vec::new();
        let mut is_page = false;
        while let Some(name) = members.next_key::<String>()? {
            if name == "events" {
                is_page = true;
                members.next_value_seed(Events {
                    left: self.left,
                    number: self.number,
                    give: self.give,
                })?;
            } else {
                others.push((name, members.next_value()?));
            }
        }
        others.retain(|(name, _)| !(is_page && PAGE.contains(&name.as_str())));
        if is_page && others.is_empty() {
            return Ok(());
        }
        // As it was, but for the blanks between its members.
        let others = others.iter();
        let others = others.map(|(name, value)| format!("{}:{value}", serde_json::json!(name)));
        let text = format!("{{{}}}", others.collect::<Vec<_>>().join(","));
        *self.number += 1;
        let at = At::Event(*self.number);
        if self.is_of_tail {
            (self.give)(Form::Logged(text.as_bytes()), at);
        } else {
            one(text.as_bytes(), at, self.give);
        }
        Ok(())
    }
}

/// The events of a page, which may be all of a group: one at a time.
struct Events<'a, 'g> {
    left: &'a Cell<u64>,
    number: &'a mut u64,
    give: &'a mut Give<'g>,
}

impl<'de> DeserializeSeed<'de> for Events<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Events<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("events of CloudWatch Logs")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut events: A) -> Result<(), A::Error> {
        while let Some(logged) = events.next_element::<InPage<'_>>()? {
            *self.number += 1;
            let message = Form::Logged(logged.message.trim().as_bytes());
            (self.give)(message, At::Event(*self.number));
            self.left.set(MAX_BYTES);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is given of a file: `P` or `L` for its form, the place, the text.
    fn given(file: &str) -> Vec<String> {
        let mut all = Vec::new();
        let mut give = |form: Form<'_>, at: At| {
            let (kind, text) = match form {
                Form::Plain(text) => ('P', text),
                Form::Logged(text) => ('L', text),
            };
            let text = String::from_utf8_lossy(text);
            let at = match at {
                At::Line(line) => format!("line {line}"),
                At::Event(event) => format!("event {event}"),
            };
            all.push(format!("{kind} {at}: {text}"));
        };
        // Of a buffer that is shorter than anything.
        read(io::BufReader::with_capacity(3, file.as_bytes()), &mut give).unwrap();
        all
    }

    #[test]
    fn lines_are_events_or_say_one() {
        let file = concat!(
            "{\"activity_id\":1}\n",
            "\n",
            "{\"b\":{\"message\":\"no\"}}\n",
            "{\"message\":\"{\\\"a\\\":1}\\n\",\"timestamp\":5}\n",
            "{\"@timestamp\":\"2026-12-01 00:00:00\",\"@message\":\"x\"}\n",
            "{\"message\":\"of an event\",\"class_uid\":1}\n",
            "2026-12-01T11:00:00.000001+00:00 a/b {\"c\":2}\n",
            "2026-12-01T11:00:00 {\"c\":3}\n",
            "{\"events\":[{\"message\":\"p\"},{\"message\":\"q\"}],\"nextForwardToken\":\"f\"}\n",
            "{\"events\":[],\"evil\":1}\n",
            "none\n",
            "{\"torn\":",
        );
        assert_eq!(
            given(file),
            [
                "P line 1: {\"activity_id\":1}",
                "P line 3: {\"b\":{\"message\":\"no\"}}",
                "L line 4: {\"a\":1}",
                "L line 5: x",
                "P line 6: {\"message\":\"of an event\",\"class_uid\":1}",
                "L line 7: {\"c\":2}",
                "L line 8: {\"c\":3}",
                "L line 9: p",
                "L line 9: q",
                "P line 10: {\"events\":[],\"evil\":1}",
                "P line 11: none",
            ]
        );
    }

    #[test]
    fn documents_of_the_aws_command_line_are_read_one_behind_the_other() {
        let page = |message: &str| {
            let page = serde_json::json!({
                "events": [{"timestamp": 1, "message": message, "ingestionTime": 2},
                    {"logStreamName": "s", "timestamp": 1, "message": "{\"z\":\"}{\"}", "eventId": "3"}],
                "nextForwardToken": "f/1/s", "nextBackwardToken": "b/1/s",
            });
            serde_json::to_string_pretty(&page).unwrap() + "\n"
        };
        let file = page("one") + &page("two") + "{\n  \"events\": []\n}";
        assert_eq!(
            given(&file),
            [
                "L event 1: one",
                "L event 2: {\"z\":\"}{\"}",
                "L event 3: two",
                "L event 4: {\"z\":\"}{\"}"
            ]
        );
        let evil =
            "{\n\"events\": [],\n\"a\": {\"b\" : 1}}\n{\n\"class_uid\": 1, \"class_uid\": 2}\n";
        assert_eq!(
            given(evil),
            [
                "P event 1: {\"a\":{\"b\" : 1}}",
                "P event 2: {\"class_uid\":1,\"class_uid\":2}"
            ]
        );
    }

    #[test]
    fn what_tail_prints_is_read() {
        let file = "2026-12-01T11:00:00+00:00 a/b \n{\n    \"c\": 2\n}\n2026-12-01T11:00:01+00:00 a/b \n{\n    \"d\": 3\n}\n";
        assert_eq!(
            given(file),
            ["L event 1: {\"c\":2}", "L event 2: {\"d\":3}"]
        );
        let other = "2026-12-01T11:00:00+00:00 a/b \n{}\nsomething else {}\n";
        assert_eq!(
            given(other),
            [
                "L event 1: {}",
                "P event 2: something else",
                "P event 3: {}"
            ]
        );
    }

    #[test]
    fn a_document_that_ends_in_the_middle_is_an_error_and_so_is_one_too_long() {
        let read = |file: &str| read(file.as_bytes(), &mut |_, _| ()).map_err(|e| e.to_string());
        assert!(read("{\n\"events\": [").unwrap_err().contains("EOF"));
        let long = format!("{{\n\"a\": \"{}\"}}", "x".repeat(9 << 20));
        assert!(read(&long).unwrap_err().contains("more than 8388608 bytes"));
        let events = vec!["{\"message\":\"".to_owned() + &"x".repeat(1 << 20) + "\"}"; 20];
        let many = format!("{{\n\"events\": [{}]}}", events.join(","));
        assert_eq!(read(&many), Ok(()));
    }
}
