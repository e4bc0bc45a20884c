//! The operations, their requests as they are parsed, and what they do to what is stored.

use std::collections::BTreeSet;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny};
use serde_json::{Value, json};

use super::entity::Entity;
use super::error::AwsError;
use super::judge::{self, InputEvent, Verdict};
use super::object::Object;
use super::page::{self, Asked, PAGE_EVENTS_AT_MOST, Page};
use super::store::{StoredEvent, Stream, check_group_name, check_stream_name};
use super::{REGION, State};

/// What `X-Amz-Target` begins with.
const TARGET: &str = "Logs_20140328.";

/// What a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "each is the API's own name")]
pub enum Operation {
    PutLogEvents,
    CreateLogStream,
    CreateLogGroup,
    DeleteLogStream,
    DeleteLogGroup,
    PutRetentionPolicy,
    GetLogEvents,
    DescribeLogStreams,
    /// Any that is not served here.
    Other,
}

impl Operation {
    /// Those that are served.
    pub const ALL: [Self; 8] = [
        Self::PutLogEvents,
        Self::CreateLogStream,
        Self::CreateLogGroup,
        Self::DeleteLogStream,
        Self::DeleteLogGroup,
        Self::PutRetentionPolicy,
        Self::GetLogEvents,
        Self::DescribeLogStreams,
    ];

    /// The value of `X-Amz-Target`.
    pub fn target(self) -> String {
        format!("{TARGET}{self:?}")
    }

    pub(super) fn of(target: &str) -> Self {
        let is = |known: &Self| known.target() == target;
        Self::ALL.into_iter().find(is).unwrap_or(Self::Other)
    }
}

/// The members that more than one operation has, and those of one; AWS passes over what it does not
/// know, and so does this.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Call {
    #[serde(default)]
    pub(super) log_group_name: Option<String>,
    #[serde(default)]
    pub(super) log_stream_name: Option<String>,
    #[serde(default, deserialize_with = "events")]
    pub(super) log_events: Option<Vec<InputEvent>>,
    #[serde(default)]
    entity: Option<Object<Entity>>,
    /// Ignored, as AWS says.
    #[serde(default, rename = "sequenceToken")]
    _sequence_token: Option<IgnoredAny>,
    #[serde(default)]
    retention_in_days: Option<u32>,
    #[serde(default)]
    deletion_protection_enabled: Option<bool>,
    #[serde(default)]
    start_time: Option<i64>,
    #[serde(default)]
    end_time: Option<i64>,
    #[serde(default)]
    limit: Option<i64>,
    #[serde(default)]
    next_token: Option<String>,
    #[serde(default)]
    start_from_head: Option<bool>,
    #[serde(default)]
    unmask: Option<bool>,
    #[serde(default)]
    log_stream_name_prefix: Option<String>,
    #[serde(default)]
    order_by: Option<String>,
    #[serde(default)]
    descending: Option<bool>,
}

impl Call {
    pub(super) fn parse(body: &[u8]) -> Result<Self, AwsError> {
        let wrong = |e: &dyn std::error::Error| AwsError::serialization(e.to_string());
        // Members that are passed over are UTF-8 too.
        let text = std::str::from_utf8(body).map_err(|e| wrong(&e))?;
        let parsed: Object<Self> = serde_json::from_str(text).map_err(|e| wrong(&e))?;
        Ok(parsed.0)
    }

    pub(super) fn batch(&self) -> &[InputEvent] {
        self.log_events.as_deref().unwrap_or_default()
    }

    fn group(&self) -> Result<&str, AwsError> {
        let name = required("logGroupName", self.log_group_name.as_deref())?;
        check_group_name(name).map(|()| name)
    }

    fn limit(&self, most: usize) -> Result<usize, AwsError> {
        match self.limit.map(usize::try_from) {
            None => Ok(most),
            Some(Ok(limit)) if (1..=most).contains(&limit) => Ok(limit),
            Some(_) => {
                let constraint = format!("Member must have value from 1 to {most}");
                Err(AwsError::constraint("limit", &constraint))
            }
        }
    }

    fn stream(&self) -> Result<&str, AwsError> {
        let name = required("logStreamName", self.log_stream_name.as_deref())?;
        check_stream_name(name).map(|()| name)
    }
}

/// Streams of a page, at most and when nothing is said (API reference, DescribeLogStreams).
const STREAMS_AT_MOST: usize = 50;

fn events<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<InputEvent>>, D::Error> {
    let events = Option::<Vec<Object<InputEvent>>>::deserialize(deserializer)?;
    Ok(events.map(|events| events.into_iter().map(|event| event.0).collect()))
}

fn required<T>(member: &str, value: Option<T>) -> Result<T, AwsError> {
    value.ok_or_else(|| AwsError::constraint(member, "Member must not be null"))
}

/// What came of a call.
#[derive(Debug, Default)]
pub(super) struct Done {
    /// `None`: an empty body, as AWS answers what has nothing to tell.
    pub(super) answer: Option<Value>,
    pub(super) stored: usize,
    pub(super) rejected: usize,
}

impl State {
    /// Does what a call asks. `request` is its number; `empty_page`: nothing is to be found yet.
    pub(super) fn serve(
        &mut self,
        operation: Operation,
        call: Call,
        request: usize,
        empty_page: bool,
    ) -> Result<Done, AwsError> {
        match operation {
            Operation::PutLogEvents => return self.put(call, request),
            Operation::GetLogEvents => return self.get(&call, empty_page),
            Operation::DescribeLogStreams => return self.describe(&call),
            Operation::CreateLogGroup => {
                let protected = call.deletion_protection_enabled == Some(true);
                self.store.create_group(call.group()?, protected)?;
            }
            Operation::DeleteLogGroup => self.delete_group(call.group()?)?,
            Operation::CreateLogStream => {
                let (group, stream) = (call.group()?, call.stream()?);
                self.store.group_mut(group)?.create_stream(stream)?;
            }
            Operation::DeleteLogStream => self.delete_stream(call.group()?, call.stream()?)?,
            Operation::PutRetentionPolicy => {
                let days = required("retentionInDays", call.retention_in_days)?;
                self.store.retain(call.group()?, days)?;
            }
            Operation::Other => return Err(AwsError::unknown_operation("")),
        }
        Ok(Done::default())
    }

    fn put(&mut self, call: Call, request: usize) -> Result<Done, AwsError> {
        let now_ms = self.now_ms();
        let (group, stream) = (call.group()?, call.stream()?);
        let batch = required("logEvents", call.log_events.as_deref())?;
        judge::check(batch)?;
        let group = self.store.group_mut(group)?;
        let retention = group.retention_days;
        let stream = group.stream_mut(stream)?;
        let is_poison = |event: &InputEvent| {
            let message = event.message.as_deref().unwrap_or_default();
            self.poison.iter().any(|poison| message.contains(poison))
        };
        if batch.iter().any(is_poison) {
            let message = "A parameter is specified incorrectly.";
            return Err(AwsError::invalid_parameter(message));
        }
        let (stored, rejected) = match judge::judge(batch, now_ms, retention) {
            Verdict::Refused(refusal) => return Err(refusal),
            Verdict::Taken { stored, rejected } => (stored, rejected),
        };
        let mut answer = json!({"nextSequenceToken": format!("{request:056}")});
        let indexes = [
            ("tooNewLogEventStartIndex", rejected.too_new_start),
            ("tooOldLogEventEndIndex", rejected.too_old_end),
            ("expiredLogEventEndIndex", rejected.expired_end),
        ];
        for (name, index) in indexes {
            if let Some(index) = index {
                answer["rejectedLogEventsInfo"][name] = index.into();
            }
        }
        if let Some(why) = call.entity.as_ref().and_then(|entity| entity.0.rejection()) {
            answer["rejectedEntityInfo"] = json!({"errorType": why});
        }
        let (all, count) = (batch.len(), stored.len());
        let events = call.log_events.unwrap_or_default();
        let taken = events.into_iter().skip(stored.start).take(count);
        stream.store(taken, now_ms, request, self.unseen_reads);
        Ok(Done {
            answer: Some(answer),
            stored: count,
            rejected: all.saturating_sub(count),
        })
    }

    fn get(&mut self, call: &Call, empty_page: bool) -> Result<Done, AwsError> {
        let (group, stream) = (call.group()?, call.stream()?);
        let limit = call.limit(PAGE_EVENTS_AT_MOST)?;
        let asked = Asked {
            start_ms: call.start_time,
            end_ms: call.end_time,
            limit,
            token: call.next_token.as_deref().map(str::parse).transpose()?,
            from_head: call.start_from_head == Some(true),
        };
        let stream = self.store.group_mut(group)?.stream_mut(stream)?;
        let events = stream.events.iter().enumerate();
        let seen: Vec<(usize, &StoredEvent)> = events
            .filter(|(_, held)| held.unseen == 0)
            .map(|(number, held)| (number, &held.event))
            .collect();
        let mut answer = if empty_page {
            shown(&page::empty(asked))
        } else {
            shown(&page::page(&seen, asked))
        };
        if call.unmask != Some(true) {
            mask(&mut answer, &self.masks);
        }
        for held in &mut stream.events {
            held.unseen = held.unseen.saturating_sub(1);
        }
        Ok(Done {
            answer: Some(answer),
            ..Done::default()
        })
    }

    /// The streams of a group in the order of their names. A token is the name that comes before.
    fn describe(&self, call: &Call) -> Result<Done, AwsError> {
        let (group, limit) = (call.group()?, call.limit(STREAMS_AT_MOST)?);
        let prefix = call.log_stream_name_prefix.as_deref().unwrap_or_default();
        match call.order_by.as_deref() {
            None | Some("LogStreamName") => {}
            Some("LastEventTime") if prefix.is_empty() => {
                return Err(AwsError::unknown_operation("by LastEventTime"));
            }
            Some("LastEventTime") => {
                let message = "Cannot order by LastEventTime with a logStreamNamePrefix.";
                return Err(AwsError::invalid_parameter(message));
            }
            Some(_) => {
                let constraint =
                    "Member must satisfy enum value set: [LogStreamName, LastEventTime]";
                return Err(AwsError::constraint("orderBy", constraint));
            }
        }
        let invalid = || AwsError::invalid_parameter("The specified nextToken is invalid.");
        let token = call.next_token.as_deref();
        let behind = token.map(|token| token.strip_prefix("after/").ok_or_else(invalid));
        let behind = behind.transpose()?;
        let mut streams: Vec<_> = self.store.group(group)?.streams.iter().collect();
        if call.descending == Some(true) {
            streams.reverse();
        }
        let found = streams
            .iter()
            .position(|(name, _)| Some(name.as_str()) == behind);
        let from = match (behind, found) {
            (None, _) => 0,
            (Some(_), Some(at)) => at + 1,
            (Some(_), None) => return Err(invalid()),
        };
        let all = streams.into_iter().skip(from);
        let mut all = all.filter(|(name, _)| name.starts_with(prefix)).peekable();
        let page: Vec<_> = all.by_ref().take(limit).collect();
        let mut answer = json!({"logStreams": page.iter().map(|(name, stream)| {
            described(group, name, stream)
        }).collect::<Vec<_>>()});
        if let (Some(_), Some((last, _))) = (all.peek(), page.last()) {
            answer["nextToken"] = format!("after/{last}").into();
        }
        Ok(Done {
            answer: Some(answer),
            ..Done::default()
        })
    }

    pub(super) fn delete_group(&mut self, name: &str) -> Result<(), AwsError> {
        let streams = self.store.group(name)?.streams.keys();
        let streams: Vec<String> = streams.cloned().collect();
        self.store.check_deletable(name)?;
        for stream in streams {
            self.delete_stream(name, &stream)?;
        }
        self.store.groups.remove(name);
        Ok(())
    }

    /// What was stored in it is remembered as deleted.
    pub(super) fn delete_stream(&mut self, group: &str, name: &str) -> Result<(), AwsError> {
        let stream = self.store.group_mut(group)?.delete_stream(name)?;
        let gone = |event: StoredEvent| (group.to_owned(), name.to_owned(), event);
        self.deleted.extend(stream.stored().into_iter().map(gone));
        Ok(())
    }
}

/// Data protection: asterisks in place of each character.
fn mask(answer: &mut Value, masks: &BTreeSet<String>) {
    let events = answer.get_mut("events").and_then(Value::as_array_mut);
    for message in events
        .into_iter()
        .flatten()
        .filter_map(|event| event.get_mut("message"))
    {
        let mut text = message.as_str().unwrap_or_default().to_owned();
        for masked in masks {
            text = text.replace(masked, &"*".repeat(masked.chars().count()));
        }
        *message = text.into();
    }
}

fn described(group: &str, name: &str, stream: &Stream) -> Value {
    let arn = format!("arn:aws:logs:{REGION}:123456789012:log-group:{group}:log-stream:{name}");
    let mut told = json!({"logStreamName": name, "arn": arn, "storedBytes": 0});
    let times = || stream.events.iter().map(|held| held.event.timestamp_ms);
    let ingested = stream.events.iter().map(|held| held.event.ingestion_ms);
    for (member, time) in [
        ("firstEventTimestamp", times().min()),
        ("lastEventTimestamp", times().max()),
        ("lastIngestionTime", ingested.max()),
    ] {
        if let Some(time) = time {
            told[member] = time.into();
        }
    }
    told
}

fn shown(page: &Page<'_>) -> Value {
    let event = |event: &&StoredEvent| {
        json!({"timestamp": event.timestamp_ms, "message": event.message,
            "ingestionTime": event.ingestion_ms})
    };
    json!({
        "events": page.events.iter().map(event).collect::<Vec<_>>(),
        "nextForwardToken": page.forward.to_string(),
        "nextBackwardToken": page.backward.to_string(),
    })
}
