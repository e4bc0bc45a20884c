//! The bounds of what is sent over OTLP, which has none of its own: receivers over gRPC take 4 MiB where nobody says
//! otherwise, and so the setting `max_request_bytes` lies below it.

/// Records of a call at the most: what is searched for one that a receiver rejects, and sent twice for it.
pub const CALL_RECORDS: usize = 512;

/// Messages in a row that may be quarantined while nothing is taken. More are not events' faults: something is
/// wrong with every call, and to quarantine one event after the other would be to lose them all.
pub const MAX_QUARANTINED_IN_A_ROW: usize = 8;

/// Bytes of an answer that are read: it has one message.
pub const ANSWER_BYTES: usize = 256 << 10;

/// Characters of the receiver's words that are repeated.
pub const SAID_CHARS: usize = 300;
