//! The bounds of what is sent to an HTTP Event Collector. Splunk has none but `max_content_length`, which is a
//! setting here; the others are ours.

/// Events of a call at the most: what a refusal costs, and what is searched for the one that is invalid.
pub const CALL_EVENTS: usize = 1_000;

/// Calls at the most that wait for their acknowledgement.
pub const CALLS_IN_FLIGHT: usize = 8;

/// Messages in a row that may be quarantined while nothing is taken. More are not events' faults: something is
/// wrong with every call, and to quarantine one event after the other would be to lose them all.
pub const MAX_QUARANTINED_IN_A_ROW: u32 = 8;

/// The first wait for an acknowledgement, milliseconds. Each further one takes twice as long.
pub const FIRST_LOOK_MS: u64 = 100;

/// The longest wait for an acknowledgement, milliseconds.
pub const LAST_LOOK_MS: u64 = 2_000;

/// Characters of Splunk's words that are repeated.
pub const SAID_CHARS: usize = 200;
