//! An audit event as a log record, and back, without loss.

use opentelemetry_proto::tonic::logs::v1::{LogRecord, SeverityNumber};

use super::{DecodeError, value};
use crate::AuditEvent;
use crate::event::AgentState;

/// The event as a log record: event name, time, severity, and the event's own fields as the body.
pub fn encode(event: &AuditEvent, time_unix_ns: u64) -> LogRecord {
    let (severity, text) = severity(event);
    LogRecord {
        time_unix_nano: time_unix_ns,
        observed_time_unix_nano: time_unix_ns,
        severity_number: severity.into(),
        severity_text: text.to_owned(),
        // The types hold nothing that JSON cannot: maps have text keys, numbers are finite.
        body: serde_json::to_value(event).ok().map(value::from_json),
        event_name: event.name().to_owned(),
        ..LogRecord::default()
    }
}

/// What a log record of ours says: time (Unix nanoseconds) and event.
pub fn decode(record: &LogRecord) -> Result<(u64, AuditEvent), DecodeError> {
    let body = record.body.as_ref().ok_or(DecodeError::Missing("body"))?;
    let event: AuditEvent =
        serde_json::from_value(value::to_json(body)?).map_err(|source| DecodeError::Body {
            event: short(&record.event_name),
            source,
        })?;
    if record.event_name != event.name() {
        return Err(DecodeError::EventName {
            name: short(&record.event_name),
            body: event.name(),
        });
    }
    Ok((record.time_unix_nano, event))
}

fn short(name: &str) -> String {
    name.chars().take(100).collect()
}

const fn severity(event: &AuditEvent) -> (SeverityNumber, &'static str) {
    match event {
        AuditEvent::OomKill(_) | AuditEvent::Loss(_) | AuditEvent::Misplaced(_) => {
            (SeverityNumber::Warn, "WARN")
        }
        AuditEvent::Agent(notice)
            if matches!(notice.state, AgentState::Silent | AgentState::Rewound) =>
        {
            (SeverityNumber::Warn, "WARN")
        }
        AuditEvent::Imds(_) | AuditEvent::ContainerEnd(_) | AuditEvent::Agent(_) => {
            (SeverityNumber::Info, "INFO")
        }
        AuditEvent::Heartbeat(_) => (SeverityNumber::Debug, "DEBUG"),
    }
}
