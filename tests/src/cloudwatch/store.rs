//! The groups, their streams and what is stored in them; names that they may have.

use std::collections::BTreeMap;

use super::error::AwsError;
use super::judge::InputEvent;

/// Characters of a name.
const NAME_AT_MOST: usize = 512;
/// Days that a group can retain events for (API reference, PutRetentionPolicy).
const RETENTION_DAYS: [u32; 22] = [
    1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922,
    3288, 3653,
];

/// An event that is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredEvent {
    /// Its own time, Unix milliseconds.
    pub timestamp_ms: i64,
    /// As it was sent.
    pub message: String,
    /// When it was stored, by the service's clock, Unix milliseconds.
    pub ingestion_ms: i64,
    /// Which request brought it: the index in [`super::CloudWatch::requests`].
    pub request: usize,
}

#[derive(Debug)]
pub(super) struct Held {
    pub(super) event: StoredEvent,
    /// Reads of its stream that do not see it yet.
    pub(super) unseen: u32,
}

#[derive(Debug, Default)]
pub(super) struct Stream {
    /// In the order in which they came.
    pub(super) events: Vec<Held>,
}

#[derive(Debug, Default)]
pub(super) struct Group {
    pub(super) streams: BTreeMap<String, Stream>,
    pub(super) retention_days: Option<u32>,
    /// Whether it cannot be deleted.
    pub(super) protected: bool,
}

#[derive(Debug, Default)]
pub(super) struct Store {
    pub(super) groups: BTreeMap<String, Group>,
}

impl Store {
    pub(super) fn group(&self, name: &str) -> Result<&Group, AwsError> {
        self.groups.get(name).ok_or_else(AwsError::no_group)
    }

    pub(super) fn group_mut(&mut self, name: &str) -> Result<&mut Group, AwsError> {
        self.groups.get_mut(name).ok_or_else(AwsError::no_group)
    }

    pub(super) fn create_group(&mut self, name: &str, protected: bool) -> Result<(), AwsError> {
        if name.starts_with("aws/") {
            return Err(AwsError::invalid_parameter(
                "Log groups starting with aws/ are reserved for AWS.",
            ));
        }
        if self.groups.contains_key(name) {
            return Err(AwsError::group_exists());
        }
        let group = Group {
            protected,
            ..Group::default()
        };
        self.groups.insert(name.to_owned(), group);
        Ok(())
    }

    /// Whether a group may be deleted.
    pub(super) fn check_deletable(&self, name: &str) -> Result<(), AwsError> {
        if self.group(name)?.protected {
            let message = "The log group has deletion protection enabled.";
            return Err(AwsError::new("ValidationException", message));
        }
        Ok(())
    }

    pub(super) fn retain(&mut self, name: &str, days: u32) -> Result<(), AwsError> {
        if !RETENTION_DAYS.contains(&days) {
            let allowed = "Member must be one of the days that can be retained";
            return Err(AwsError::constraint("retentionInDays", allowed));
        }
        self.group_mut(name)?.retention_days = Some(days);
        Ok(())
    }
}

impl Group {
    pub(super) fn stream_mut(&mut self, name: &str) -> Result<&mut Stream, AwsError> {
        self.streams.get_mut(name).ok_or_else(AwsError::no_stream)
    }

    pub(super) fn create_stream(&mut self, name: &str) -> Result<(), AwsError> {
        if self.streams.contains_key(name) {
            return Err(AwsError::stream_exists());
        }
        self.streams.insert(name.to_owned(), Stream::default());
        Ok(())
    }

    pub(super) fn delete_stream(&mut self, name: &str) -> Result<Stream, AwsError> {
        self.streams.remove(name).ok_or_else(AwsError::no_stream)
    }
}

impl Stream {
    /// Stores events that [`super::judge::judge`] has taken.
    pub(super) fn store(
        &mut self,
        events: impl IntoIterator<Item = InputEvent>,
        now_ms: i64,
        request: usize,
        unseen: u32,
    ) {
        let held = |event: InputEvent| Held {
            event: StoredEvent {
                timestamp_ms: event.timestamp.unwrap_or_default(),
                message: event.message.unwrap_or_default(),
                ingestion_ms: now_ms,
                request,
            },
            unseen,
        };
        self.events.extend(events.into_iter().map(held));
    }

    pub(super) fn stored(&self) -> Vec<StoredEvent> {
        self.events.iter().map(|held| held.event.clone()).collect()
    }
}

/// The name of a group: 1 to 512 of `.-_/#A-Za-z0-9`.
pub(super) fn check_group_name(name: &str) -> Result<(), AwsError> {
    let fits = |c: char| c.is_ascii_alphanumeric() || ".-_/#".contains(c);
    check_name("logGroupName", name, r"[\.\-_/#A-Za-z0-9]+", fits)
}

/// The name of a stream: 1 to 512 characters but `:` and `*`.
pub(super) fn check_stream_name(name: &str) -> Result<(), AwsError> {
    check_name("logStreamName", name, "[^:*]*", |c| c != ':' && c != '*')
}

fn check_name(
    member: &str,
    name: &str,
    pattern: &str,
    fits: impl Fn(char) -> bool,
) -> Result<(), AwsError> {
    let constraint = if name.is_empty() {
        "Member must have length greater than or equal to 1".to_owned()
    } else if name.chars().count() > NAME_AT_MOST {
        format!("Member must have length less than or equal to {NAME_AT_MOST}")
    } else if !name.chars().all(fits) {
        format!("Member must satisfy regular expression pattern: {pattern}")
    } else {
        return Ok(());
    };
    Err(AwsError::constraint(member, &constraint))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_has_a_name_of_its_characters() {
        for good in ["a", "/plimsoll/audit", "A.b-c_d/e#9", "aws", "/aws/eks"] {
            assert_eq!(check_group_name(good), Ok(()), "{good}");
        }
        for bad in ["", "a b", "a:b", "a*", "ä", "a\n", "a+b"] {
            assert!(check_group_name(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_stream_has_any_name_without_colon_and_star() {
        for good in ["a", "cluster/i-0/1", "ä ö", "a\n", "[$]"] {
            assert_eq!(check_stream_name(good), Ok(()), "{good}");
        }
        for bad in ["", "a:b", "*"] {
            assert!(check_stream_name(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn names_have_one_to_512_characters() {
        for (length, good) in [(1, true), (511, true), (512, true), (513, false)] {
            assert_eq!(
                check_group_name(&"a".repeat(length)).is_ok(),
                good,
                "{length}"
            );
            assert_eq!(
                check_stream_name(&"é".repeat(length)).is_ok(),
                good,
                "{length}"
            );
        }
    }

    #[test]
    fn names_that_begin_with_aws_are_not_for_us() {
        let mut store = Store::default();
        for (name, good) in [
            ("aws/a", false),
            ("aws/", false),
            ("aws", true),
            ("awsa/b", true),
        ] {
            assert_eq!(store.create_group(name, false).is_ok(), good, "{name}");
        }
    }

    #[test]
    fn a_group_retains_events_for_one_of_its_numbers_of_days() {
        let mut store = Store::default();
        store.create_group("g", false).unwrap();
        for (days, good) in [(0, false), (1, true), (2, false), (3, true), (3653, true)] {
            assert_eq!(store.retain("g", days).is_ok(), good, "{days}");
        }
        assert_eq!(store.retain("none", 1), Err(AwsError::no_group()));
    }

    #[test]
    fn a_protected_group_stays() {
        let mut store = Store::default();
        store.create_group("g", true).unwrap();
        assert!(store.check_deletable("g").is_err());
        store.create_group("h", false).unwrap();
        assert_eq!(store.check_deletable("h"), Ok(()));
    }
}
