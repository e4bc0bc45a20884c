#![expect(
    clippy::disallowed_methods,
    reason = "shell: the wall clock of the API"
)]
//! The time at which a document is made.

use std::time::{SystemTime, UNIX_EPOCH};

/// Now, Unix nanoseconds; 0 on a machine whose clock stands before 1970.
pub fn unix_ns() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}
