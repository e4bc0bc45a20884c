//! What CloudWatch Logs takes: the numbers and names of PutLogEvents, in one place.
//!
//! From AWS's own model of the service (botocore 1.44.5) and its page of quotas. An event was 256 KiB at the
//! most until 2025; older pages still say so.

/// Bytes of a call at the most: every message's, and [`EVENT_BYTES`] for each.
pub const CALL_BYTES: usize = 1_048_576;

/// What an event counts besides its message, bytes.
pub const EVENT_BYTES: usize = 26;

/// Events of a call at the most.
pub const CALL_EVENTS: usize = 10_000;

/// Bytes of the longest message: one that fills a call alone.
pub const MESSAGE_BYTES: usize = CALL_BYTES - EVENT_BYTES;

/// Milliseconds between the first and the last event of a call at the most: a day.
pub const SPAN_MS: i64 = 24 * HOUR_MS;

/// An event of a time further back is refused, and so is one from before the group's retention.
pub const OLDEST_MS: i64 = 14 * 24 * HOUR_MS;

/// An event of a time further ahead is refused.
pub const NEWEST_MS: i64 = 2 * HOUR_MS;

/// How far from [`OLDEST_MS`] an event is given the present time already: what is nearer could be refused when
/// it gets there, or by a clock that differs.
pub const OLDEST_MARGIN_MS: i64 = HOUR_MS;

/// The same of [`NEWEST_MS`].
pub const NEWEST_MARGIN_MS: i64 = HOUR_MS / 12;

const HOUR_MS: i64 = 3_600_000;

/// Characters of a name of a group or stream at the most.
pub const NAME_CHARS: usize = 512;

/// Characters that are kept free for what follows the prefix of a stream: `/` and the name of a life.
pub const EPOCH_CHARS: usize = 65;

/// Whether a log group can be called so.
pub fn is_group_name(name: &str) -> bool {
    let of_name = |byte: u8| byte.is_ascii_alphanumeric() || b".-_/#".contains(&byte);
    (1..=NAME_CHARS).contains(&name.len()) && name.bytes().all(of_name) && !name.starts_with("aws/")
}

/// What [`is_group_name`] asks for.
pub const MUST_BE_A_GROUP_NAME: &str = "be a log group's name: 512 letters, digits and `.-_/#` at the most, not \
     beginning with aws/";

/// Whether a log stream can be called so.
pub fn is_stream_name(name: &str) -> bool {
    let chars = name.chars().count();
    (1..=NAME_CHARS).contains(&chars) && !name.contains([':', '*'])
}

/// Whether the names of streams can begin so.
pub fn is_stream_prefix(prefix: &str) -> bool {
    is_stream_name(prefix)
        && prefix.chars().count() <= NAME_CHARS - EPOCH_CHARS
        && !prefix.contains(char::is_control)
}

/// What [`is_stream_prefix`] asks for.
pub const MUST_BE_A_STREAM_PREFIX: &str =
    "begin a log stream's name: 447 characters at the most, without `:` and `*`";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_the_services_own() {
        let (long, longer) = ("a".repeat(512), "a".repeat(513));
        for (name, is) in [
            ("/plimsoll/prod", true),
            ("A.b-c_d/e#9", true),
            ("/aws/x", true),
            ("aws", true),
            (long.as_str(), true),
            (longer.as_str(), false),
            ("", false),
            ("aws/x", false),
            ("a b", false),
            ("a:b", false),
            ("ä", false),
        ] {
            assert_eq!(is_group_name(name), is, "{name}");
        }
        let (long, longer) = ("ä".repeat(512), "ä".repeat(513));
        for (name, is) in [
            ("prod-eks-1/0f", true),
            ("a b $", true),
            (long.as_str(), true),
            (longer.as_str(), false),
            ("", false),
            ("a:b", false),
            ("a*", false),
        ] {
            assert_eq!(is_stream_name(name), is, "{name}");
        }
        assert!(is_stream_prefix(&"a".repeat(447)) && !is_stream_prefix(&"a".repeat(448)));
        assert!(MUST_BE_A_STREAM_PREFIX.contains(&(NAME_CHARS - EPOCH_CHARS).to_string()));
        assert!(!is_stream_prefix("a\nb"));
    }
}
