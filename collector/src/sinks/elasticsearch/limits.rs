//! The bounds of what is sent to Elasticsearch. It has none but `http.max_content_length`, below which the setting
//! `max_content_bytes` lies, and the length of an `_id`; the others are ours.

/// Events of a call at the most.
pub const CALL_EVENTS: usize = 1_000;

/// Bytes of an `_id` at the most.
pub const ID_BYTES: usize = 512;

/// Bytes of an index's name at the most.
pub const INDEX_BYTES: usize = 255;

/// Messages in a row that may be quarantined while nothing is taken. More are not events' faults: a mapping is
/// wrong, and to quarantine one event after the other would be to lose them all.
pub const MAX_QUARANTINED_IN_A_ROW: u32 = 8;

/// Bytes of an answer that are read: a line for each event, with what is wrong with it.
pub const ANSWER_BYTES: usize = 8 << 20;

/// Characters of its words that are repeated.
pub const SAID_CHARS: usize = 300;
