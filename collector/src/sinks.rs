//! What sinks over a network share: what they send, what became of it, and when to try again.
//!
//! ```text
//!  trail ─ Message… ─► sink.send ─┬─ Sent: so many from the front have their fate ─► cursor moves
//!                                 └─ Refused: nothing is dropped ─► Backoff ─► the same again
//! ```
//!
//! A sink *prepares* a call (pure), *makes* it (shell) and *interprets* the answer (pure). It knows no journal and
//! no cursor: whoever calls it moves the cursor by what was taken and waits after a refusal. No sink ever drops a
//! message: what the other side will not take as it is, is quarantined with the reason, and everything else waits.

pub mod backoff;
pub mod cloudwatch;
pub mod elasticsearch;
mod fates;
pub mod file;
pub mod hec;
pub mod http;
pub mod lake;
pub mod otlp;
pub mod stdout;
pub mod syslog;
pub mod trust;

/// What a sink sends of one record of the trail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Its number in the trail; they rise, and may leave numbers out.
    pub seq: u64,
    /// When it happened, Unix nanoseconds.
    pub time_unix_ns: u64,
    /// `metadata.uid` of the event: what makes a repeat known as one.
    pub uid: String,
    /// The event: one JSON object, canonical, without a line end. Part of a chain of hashes, so it is sent as it
    /// is or not at all.
    pub text: String,
}

/// What became of a run of messages from the front.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sent {
    /// So many from the front have their fate: `delivered`, or listed in `quarantined`. 0 is progress as well (a
    /// call was halved, or messages behind the first were taken): ask again at once. It comes a few times in a
    /// row at the most.
    pub taken: usize,
    /// Of those, messages that the other side has.
    pub delivered: u64,
    /// Of those, messages that the other side will never take.
    pub quarantined: Vec<Quarantined>,
    /// Of the delivered, messages whose time the other side would not take: it has them under the present time.
    /// Their own text says when they happened.
    pub restamped: u64,
    /// Of the delivered, messages that the other side may have twice, as an earlier answer was lost.
    pub maybe_twice: u64,
}

/// A message that the other side will never take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quarantined {
    /// Its number in the trail.
    pub seq: u64,
    /// Why.
    pub reason: QuarantineReason,
}

/// Why a message will never be taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QuarantineReason {
    /// There is nothing in it.
    #[error("it is empty")]
    Empty,
    /// It is longer than the other side takes.
    #[error("it has {bytes} bytes, more than {most}")]
    TooLong {
        /// Its length.
        bytes: usize,
        /// The longest that is taken.
        most: usize,
    },
    /// The other side refuses it alone.
    #[error("{0}")]
    Invalid(String),
}

impl QuarantineReason {
    /// For a metric: of a closed set.
    pub const fn label(&self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::TooLong { .. } => "too_long",
            Self::Invalid(_) => "invalid",
        }
    }
}

/// Why nothing (more) was taken. Nothing is ever dropped for it.
#[derive(Debug, thiserror::Error)]
#[error("{what}")]
pub struct Refused {
    /// What is to be done about it.
    pub kind: RefusalKind,
    /// What was done to what, and what an operator can do.
    pub what: String,
    /// What the other side, or the way to it, said.
    pub source: Option<BoxError>,
    /// Milliseconds that the other side asks to be left alone for.
    pub retry_after_ms: Option<u64>,
}

/// A cause that is only told.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Kinds of refusals, by who can end them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RefusalKind {
    /// Too much at a time: goes by.
    Throttled,
    /// No answer, or none that says anything: goes by.
    Unavailable,
    /// What is to be sent to is not there: an operator makes it.
    Missing,
    /// The collector may not: an operator permits it.
    Denied,
    /// There are no credentials, or none that count any more.
    Credentials,
    /// A key cannot be used.
    Key,
    /// Anything else.
    Other,
}

impl RefusalKind {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Throttled,
        Self::Unavailable,
        Self::Missing,
        Self::Denied,
        Self::Credentials,
        Self::Key,
        Self::Other,
    ];

    /// For a metric: of a closed set.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Throttled => "throttled",
            Self::Unavailable => "unavailable",
            Self::Missing => "missing",
            Self::Denied => "denied",
            Self::Credentials => "credentials",
            Self::Key => "key",
            Self::Other => "other",
        }
    }

    /// Whether it goes by without anybody's doing.
    pub const fn is_passing(self) -> bool {
        matches!(self, Self::Throttled | Self::Unavailable)
    }
}
