//! Our records as OTLP, and back. Bytes from outside are hostile: every decoder is total, and an
//! error names the attribute, metric or field.
//!
//! * [`logs`]: an audit event is a log record whose body is the event
//! * [`metrics`]: a usage window is one `ResourceMetrics`
//! * [`id`]: the record's name, put on by the spool's exporter and read by the collector

pub mod id;
pub mod logs;
pub mod metrics;
pub mod value;

mod subject;

use thiserror::Error;

use crate::sketch::SketchError;

/// Why an OTLP message is not one of our records.
#[derive(Debug, Error)]
pub enum DecodeError {
    /// A name that every record has.
    #[error("{0} is absent")]
    Missing(&'static str),
    /// There, but of another type.
    #[error("{name} is not {expected}")]
    Type {
        /// Attribute, metric or field.
        name: String,
        /// What it should be.
        expected: &'static str,
    },
    /// The right type, but not one of the values.
    #[error("{name} has an unknown value")]
    Value {
        /// Attribute.
        name: &'static str,
    },
    /// Nested deeper than the bound.
    #[error("the body is nested deeper than {} levels", value::MAX_DEPTH)]
    TooDeep,
    /// The body does not make the event that the record's name promises.
    #[error("the body is no {event} event")]
    Body {
        /// Event name of the record.
        event: String,
        /// Which field.
        #[source]
        source: serde_json::Error,
    },
    /// The event name and the body disagree.
    #[error("the record is named {name}, its body is {body}")]
    EventName {
        /// Event name of the record.
        name: String,
        /// What the body says.
        body: &'static str,
    },
    /// A histogram that no values make.
    #[error("{name} is no distribution")]
    Sketch {
        /// Metric.
        name: &'static str,
        /// Why.
        #[source]
        source: SketchError,
    },
}

#[cfg(test)]
mod tests;
