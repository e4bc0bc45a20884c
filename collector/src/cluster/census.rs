//! What is known of each kind that is followed: whether all its objects are known, what went wrong.
//!
//! Kept by whoever follows, read by metrics, health and the API. Knows no clock: times are given, since
//! the start of the process.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use kube::core::ApiResource;

use super::kinds;

/// A failure is a trouble for so long; one that goes on is told anew before that: the longest wait between two
/// tries is a minute, and a request may take another.
const FRESH: Duration = Duration::from_mins(3);
/// A failure that goes on is met again within so much: the longest wait between two tries, and a request. A watch that
/// was taken up again tells nothing of that until something changes.
const GOES_ON: Duration = Duration::from_secs(90);
/// Between two words in the log about objects of one kind that cannot be read.
const LOG_EVERY: Duration = Duration::from_mins(1);

/// How far a kind is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// Nothing was asked yet.
    #[default]
    Unknown,
    /// All its objects are being told.
    Listing,
    /// All are known, and each change is.
    Live,
    /// The cluster has no such kind.
    Absent,
    /// The account that asks may not see it.
    Denied,
}

impl State {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Unknown,
        Self::Listing,
        Self::Live,
        Self::Absent,
        Self::Denied,
    ];

    /// As metrics say it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Listing => "listing",
            Self::Live => "live",
            Self::Absent => "absent",
            Self::Denied => "denied",
        }
    }
}

/// Why a request or a stream came to nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Failure {
    /// What was asked for is too old: all is listed anew (410, an expired `continue`).
    Expired,
    /// The credentials are not accepted (401).
    Unauthorized,
    /// The account has not the right (403).
    Forbidden,
    /// Asked too much (429).
    Throttled,
    /// 5xx.
    Server,
    /// A list whose next page or object did not come.
    Stalled,
    /// The connection.
    Connection,
    /// Anything else.
    Other,
}

impl Failure {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Expired,
        Self::Unauthorized,
        Self::Forbidden,
        Self::Throttled,
        Self::Server,
        Self::Stalled,
        Self::Connection,
        Self::Other,
    ];

    /// As metrics say it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Expired => "expired",
            Self::Unauthorized => "unauthorized",
            Self::Forbidden => "forbidden",
            Self::Throttled => "throttled",
            Self::Server => "server",
            Self::Stalled => "stalled",
            Self::Connection => "connection",
            Self::Other => "other",
        }
    }
}

/// One kind.
#[derive(Clone, Debug, Default)]
pub struct Row {
    /// How far it is known.
    pub state: State,
    /// Objects and deletions that were told.
    pub changes: u64,
    /// Listings that came to their end.
    pub listings: u64,
    /// Objects that could not be read.
    pub malformed: u64,
    /// What came to nothing, by reason.
    pub failures: BTreeMap<Failure, u64>,
    /// It was known whole once.
    synced: bool,
    /// The last failure and its time.
    trouble: Option<(Duration, String)>,
    /// When a malformed object was told the last time.
    told: Option<Duration>,
}

impl Row {
    /// What is wrong with it and will not be for good, if that was met within this time.
    fn trouble_of(&self, now: Duration, within: Duration) -> Option<&str> {
        let (at, why) = self.trouble.as_ref()?;
        let is_fresh = self.state != State::Denied && now.saturating_sub(*at) < within;
        is_fresh.then_some(why)
    }
}

/// Group and kind.
pub type Name = (String, String);

/// Whether containers are named by it. Nodes change without end, and name nothing in usage.
fn names_usage((group, kind): &Name) -> bool {
    kind != "Node" && kinds::names(group, kind)
}

/// See the module.
#[derive(Debug, Default)]
pub struct Census(Mutex<BTreeMap<Name, Row>>);

impl Census {
    /// Of everything that is followed.
    pub fn rows(&self) -> BTreeMap<Name, Row> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// With a row for every kind that is always followed.
    pub fn of_all() -> Self {
        let rows = kinds::BUILT_IN.iter().map(|kind| {
            let name = (kind.group.to_owned(), kind.kind.to_owned());
            (name, Row::default())
        });
        Self(Mutex::new(rows.collect()))
    }

    /// Whether every kind that each cluster has was known whole once, or cannot be known: there is nothing to
    /// wait for.
    pub fn is_synced(&self) -> bool {
        self.all(|row| row.synced || matches!(row.state, State::Absent | State::Denied))
    }

    /// Whether every kind that each cluster has and that names containers was known whole once, and is told now.
    pub fn is_told(&self, now: Duration) -> bool {
        let is_seen = |row: &Row| !matches!(row.state, State::Absent | State::Denied);
        let is_told =
            |row: &Row| row.synced && is_seen(row) && row.trouble_of(now, GOES_ON).is_none();
        self.all_of(|kind| kind.names, is_told)
    }

    fn all(&self, is: impl Fn(&Row) -> bool) -> bool {
        self.all_of(|_| true, is)
    }

    fn all_of(&self, of: impl Fn(&kinds::Kind) -> bool, is: impl Fn(&Row) -> bool) -> bool {
        let rows = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kinds::BUILT_IN.iter().filter(|kind| of(kind)).all(|kind| {
            let row = rows.get(&(kind.group.to_owned(), kind.kind.to_owned()));
            row.is_some_and(&is)
        })
    }

    /// Whether a kind that containers are named by could be seen, and is not told now.
    pub fn is_interrupted(&self, now: Duration) -> bool {
        let rows = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut rows = rows.iter().filter(|(name, _)| names_usage(name));
        rows.any(|(_, row)| row.trouble_of(now, GOES_ON).is_some())
    }

    /// Objects and deletions that were told, of the kinds that name something.
    pub fn changes(&self) -> u64 {
        let rows = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let rows = rows.iter().filter(|(name, _)| names_usage(name));
        rows.map(|(_, row)| row.changes).sum()
    }

    /// What is wrong now, in words.
    pub fn troubles(&self, now: Duration) -> Vec<String> {
        let rows = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut troubles = Vec::new();
        for ((group, kind), row) in rows.iter() {
            let known = kinds::BUILT_IN;
            let needed = known.iter().any(|of| of.group == group && of.kind == kind);
            if row.state == State::Denied && needed {
                troubles.push(format!("{kind}: the account may not list and watch it"));
            } else if row.state == State::Absent && needed {
                // A fact of any other kind. These every cluster has.
                troubles.push(format!(
                    "{kind}: the server has no such kind; is it an API server, and the path of its address right?"
                ));
            } else if let Some(why) = row.trouble_of(now, FRESH) {
                troubles.push(format!("{kind}: {why}"));
            }
        }
        troubles
    }

    fn row<T>(&self, of: &ApiResource, change: impl FnOnce(&mut Row) -> T) -> T {
        let mut rows = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        change(rows.entry((of.group.clone(), of.kind.clone())).or_default())
    }

    pub(super) fn set(&self, of: &ApiResource, state: State) {
        self.row(of, |row| {
            row.state = state;
            if state == State::Live {
                row.listings += 1;
                row.synced = true;
            }
            if state != State::Listing {
                row.trouble = None;
            }
        });
    }

    pub(super) fn changed(&self, of: &ApiResource) {
        self.row(of, |row| {
            row.changes += 1;
            if row.state == State::Live {
                row.trouble = None;
            }
        });
    }

    pub(super) fn failed(&self, of: &ApiResource, failure: Failure, why: &str, now: Duration) {
        // It is shown as it is, and a server may say anything.
        let why = why.replace(char::is_control, " ");
        self.row(of, |row| {
            *row.failures.entry(failure).or_default() += 1;
            row.trouble = Some((now, why));
        });
    }

    /// An object cannot be read; whether the log is to say so now.
    pub(super) fn malformed(&self, of: &ApiResource, now: Duration) -> bool {
        self.row(of, |row| {
            row.malformed += 1;
            let due = row
                .told
                .is_none_or(|told| now.saturating_sub(told) >= LOG_EVERY);
            if due {
                row.told = Some(now);
            }
            due
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn pods() -> ApiResource {
        let pods = kinds::BUILT_IN.iter().find(|kind| kind.kind == "Pod");
        pods.unwrap().resource()
    }

    #[test]
    fn a_cluster_is_known_when_every_kind_has_been_or_cannot_be() {
        let census = Census::default();
        for kind in &kinds::BUILT_IN {
            assert!(!census.is_synced());
            census.set(&kind.resource(), State::Listing);
            let end = match kind.kind {
                "CronJob" => State::Absent,
                "LimitRange" => State::Denied,
                _ => State::Live,
            };
            census.set(&kind.resource(), end);
        }
        assert!(census.is_synced());
        assert!(!census.is_told(SECOND), "there are no CronJobs");
        for kind in kinds::BUILT_IN.iter().filter(|kind| kind.kind == "CronJob") {
            census.set(&kind.resource(), State::Live);
        }
        assert!(census.is_told(SECOND), "a limit names nothing");
        census.set(&pods(), State::Listing);
        assert!(census.is_synced(), "names are known, if not the newest");
        census.failed(&pods(), Failure::Other, "no\u{1b}[31m\nway", SECOND);
        let troubles = census.troubles(SECOND);
        assert_eq!(troubles.last().unwrap(), "Pod: no [31m way");
        assert!(!census.is_told(SECOND * 90) && census.is_told(SECOND * 91));
        census.set(&pods(), State::Denied);
        assert!(!census.is_told(SECOND * 91));
        census.set(&pods(), State::Absent);
        let [denied, absent] = census.troubles(SECOND).try_into().unwrap();
        assert!(absent.starts_with("Pod: the server has no such kind"));
        census.set(&pods(), State::Live);
        assert_eq!(denied, "LimitRange: the account may not list and watch it");
        for kind in kinds::BUILT_IN
            .iter()
            .filter(|kind| kind.kind == "LimitRange")
        {
            census.set(&kind.resource(), State::Live);
        }
        assert!(census.troubles(SECOND).is_empty());
    }

    #[test]
    fn names_are_interrupted_by_what_names_containers_alone() {
        let census = Census::of_all();
        let fail = |kind: &str| {
            let of = kinds::BUILT_IN.iter().find(|of| of.kind == kind).unwrap();
            census.failed(&of.resource(), Failure::Server, "503", SECOND);
            census.is_interrupted(2 * SECOND)
        };
        assert!(!fail("Service"));
        assert!(fail("ReplicaSet"));
        assert!(!census.is_interrupted(182 * SECOND));
    }

    #[test]
    fn a_failure_is_a_trouble_until_it_is_old_or_something_is_heard() {
        let census = Census::default();
        census.set(&pods(), State::Live);
        let fail = |now| census.failed(&pods(), Failure::Server, "503", now);
        fail(SECOND);
        assert_eq!(census.troubles(10 * SECOND), ["Pod: 503"]);
        assert!(census.troubles(182 * SECOND).is_empty());
        fail(190 * SECOND);
        census.changed(&pods());
        assert!(census.troubles(191 * SECOND).is_empty());
        let row = &census.rows()[&(String::new(), "Pod".to_owned())];
        assert_eq!((row.changes, row.failures[&Failure::Server]), (1, 2));
    }

    #[test]
    fn what_cannot_be_read_is_told_once_a_minute() {
        let census = Census::default();
        let told: Vec<bool> = [0, 1, 59, 60, 61]
            .map(|now| census.malformed(&pods(), now * SECOND))
            .to_vec();
        assert_eq!(told, [true, false, false, true, false]);
    }
}
