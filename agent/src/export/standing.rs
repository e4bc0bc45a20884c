//! How the export of each class stands: how often it failed and why, and what is in its way now.
//!
//! The export tasks write it; the main loop shows it in `/readyz`, in heartbeats and as a metric.
//! Knows neither the log nor what is done about a failure (`course`, `retry`).

use std::error::Error;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};

use plimsoll_wire::Class;
use tonic::{Code, Status};

use super::{ExportError, retry};

/// Characters of a cause that are shown; the collector's words come from outside.
const CAUSE_CHARS: usize = 240;

/// Tries in a row that find nobody before it is called a trouble, about two seconds: a collector that
/// is started anew, or after its agents, is none.
const AWAY_TRIES: u32 = 5;

/// Why a try failed: the closed set behind the metric's label `reason`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The token's file cannot be read, or holds none.
    NoToken,
    /// The collector refuses the token, or this node with it.
    RefusedToken,
    /// The two do not come to terms about TLS.
    Tls,
    /// Nobody answers, or the collector says that it takes nothing now.
    Unavailable,
    /// No answer in time.
    Timeout,
    /// The collector has too much to do.
    Busy,
    /// The collector takes the content for malformed.
    Invalid,
    /// Any other answer.
    Other,
}

impl Reason {
    /// All of them, in the order of their declaration.
    pub const ALL: [Self; 8] = [
        Self::NoToken,
        Self::RefusedToken,
        Self::Tls,
        Self::Unavailable,
        Self::Timeout,
        Self::Busy,
        Self::Invalid,
        Self::Other,
    ];

    /// Why a request failed.
    pub fn of(status: &Status) -> Self {
        let causes = || std::iter::successors(status.source(), |&cause| cause.source());
        if causes().any(<dyn Error>::is::<ExportError>) {
            return Self::NoToken;
        }
        if causes().any(|cause| tls_error(cause).is_some()) {
            return Self::Tls;
        }
        match status.code() {
            Code::Unauthenticated | Code::PermissionDenied => Self::RefusedToken,
            Code::Unavailable => Self::Unavailable,
            Code::DeadlineExceeded | Code::Cancelled => Self::Timeout,
            Code::ResourceExhausted => Self::Busy,
            Code::InvalidArgument | Code::OutOfRange => Self::Invalid,
            _ => Self::Other,
        }
    }

    /// The metric's label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NoToken => "no_token",
            Self::RefusedToken => "refused_token",
            Self::Tls => "tls",
            Self::Unavailable => "unavailable",
            Self::Timeout => "timeout",
            Self::Busy => "busy",
            Self::Invalid => "invalid",
            Self::Other => "other",
        }
    }

    const fn sentence(self) -> &'static str {
        match self {
            Self::NoToken => "there is no token to send",
            Self::RefusedToken => "the collector refuses the token",
            Self::Tls => "no TLS connection can be made",
            Self::Unavailable => "the collector is away or takes nothing",
            Self::Timeout => "the collector does not answer in time",
            Self::Busy => "the collector has too much to do",
            Self::Invalid => "the collector takes a record for malformed",
            Self::Other => "the collector answers with an error",
        }
    }
}

/// The TLS library hides its error inside one of I/O, which does not tell it as its source.
fn tls_error<'a>(cause: &'a (dyn Error + 'static)) -> Option<&'a rustls::Error> {
    let wrapped = || cause.downcast_ref::<io::Error>()?.get_ref()?.downcast_ref();
    cause.downcast_ref().or_else(wrapped)
}

/// The certificate is one of the authorities', and of another name.
pub(super) fn is_of_another_name(status: &Status) -> bool {
    use rustls::CertificateError as Why;
    tls_errors(status).any(|error| {
        matches!(
            error,
            rustls::Error::InvalidCertificate(
                Why::NotValidForName | Why::NotValidForNameContext { .. }
            )
        )
    })
}

/// What answers there does not speak TLS at all.
pub(super) fn is_plain_text(status: &Status) -> bool {
    tls_errors(status).any(|error| matches!(error, rustls::Error::InvalidMessage(_)))
}

/// Nobody's answer: the connection broke before there was one.
pub(super) fn is_of_connection(status: &Status) -> bool {
    status.source().is_some()
}

fn tls_errors(status: &Status) -> impl Iterator<Item = &rustls::Error> {
    std::iter::successors(status.source(), |&cause| cause.source()).filter_map(tls_error)
}

/// See the module.
#[derive(Debug, Default)]
pub struct Standing([Mutex<Course>; Class::ALL.len()]);

/// Of one class.
#[derive(Debug, Default)]
struct Course {
    failures: [u64; Reason::ALL.len()],
    /// What is in the way: nothing once a batch was taken.
    trouble: Option<Trouble>,
}

/// What failed last, and how often in a row.
#[derive(Debug)]
struct Trouble {
    reason: Reason,
    told: String,
    tries: u32,
}

impl Standing {
    /// A try failed. Whether that is news: nothing, or something else, was in the way before.
    pub(crate) fn failed(&self, class: Class, reason: Reason, cause: &str, place: &str) -> bool {
        let mut course = self.course(class);
        if let Some(count) = course.failures.get_mut(reason as usize) {
            *count += 1;
        }
        let same = course.trouble.take().filter(|was| was.reason == reason);
        let cause: String = cause.chars().take(CAUSE_CHARS).collect();
        course.trouble = Some(Trouble {
            reason,
            told: format!("{}: {cause} ({place})", reason.sentence()),
            tries: same.as_ref().map_or(1, |was| was.tries.saturating_add(1)),
        });
        same.is_none()
    }

    /// A batch was taken. Whether something was in the way before.
    pub(super) fn went_well(&self, class: Class) -> bool {
        self.course(class).trouble.take().is_some()
    }

    /// One line for each class that nobody takes, as `/readyz` shows it.
    pub fn degraded(&self) -> Vec<String> {
        let line = |class: Class| {
            let course = self.course(class);
            let trouble = course.trouble.as_ref()?;
            let lasts = trouble.reason != Reason::Unavailable || trouble.tries >= AWAY_TRIES;
            lasts.then(|| format!("export of {}: {}", class.as_str(), trouble.told))
        };
        Class::ALL.into_iter().filter_map(line).collect()
    }

    /// Tries that failed since the start, by class and reason, those that never happened included.
    pub fn failures(&self) -> Vec<(Class, Reason, u64)> {
        let of = |class: Class| {
            let failures = self.course(class).failures;
            let counted = Reason::ALL.into_iter().zip(failures);
            counted.map(move |(reason, count)| (class, reason, count))
        };
        Class::ALL.into_iter().flat_map(of).collect()
    }

    fn course(&self, class: Class) -> MutexGuard<'_, Course> {
        let [usage, security] = &self.0;
        let course = match class {
            Class::Usage => usage,
            Class::Security => security,
        };
        course.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is known of a failure in one line, see [`retry::cause`].
pub(super) fn cause(status: &Status) -> String {
    let cause = retry::cause(status);
    if cause.is_empty() {
        status.code().description().to_owned()
    } else {
        cause
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trouble_is_news_once_and_again_when_it_changes() {
        let standing = Standing::default();
        let failed = |reason| standing.failed(Class::Usage, reason, "why", "http://c:4317");
        assert!(failed(Reason::Unavailable));
        assert!(!failed(Reason::Unavailable));
        assert!(failed(Reason::RefusedToken));
        assert_eq!(
            standing.degraded(),
            ["export of usage: the collector refuses the token: why (http://c:4317)"]
        );
        assert!(!standing.went_well(Class::Security));
        assert!(standing.went_well(Class::Usage));
        assert!(!standing.went_well(Class::Usage));
        assert!(standing.degraded().is_empty());
        assert!(failed(Reason::RefusedToken));
        let counted = standing.failures();
        assert_eq!(counted.len(), Class::ALL.len() * Reason::ALL.len());
        let happened = |&(_, _, count): &(Class, Reason, u64)| count > 0;
        assert_eq!(
            counted.into_iter().filter(happened).collect::<Vec<_>>(),
            [
                (Class::Usage, Reason::RefusedToken, 2),
                (Class::Usage, Reason::Unavailable, 2),
            ]
        );
    }

    /// A collector that starts, or starts anew, is away for a moment.
    #[test]
    fn who_is_away_is_missed_after_a_while() {
        let standing = Standing::default();
        for tried in 1..=AWAY_TRIES {
            standing.failed(Class::Usage, Reason::Unavailable, "refused", "c");
            let shown = standing.degraded().len();
            assert_eq!(shown, usize::from(tried == AWAY_TRIES), "{tried}");
        }
        standing.went_well(Class::Usage);
        standing.failed(Class::Usage, Reason::Unavailable, "refused", "c");
        assert!(standing.degraded().is_empty());
    }

    #[test]
    fn what_the_collector_says_is_cut() {
        let standing = Standing::default();
        standing.failed(Class::Usage, Reason::Other, &"ä".repeat(10_000), "c");
        assert!(standing.degraded()[0].chars().count() < CAUSE_CHARS + 80);
    }

    #[test]
    fn each_code_has_a_reason_and_each_reason_its_name() {
        for (code, reason) in [
            (Code::Unauthenticated, "refused_token"),
            (Code::PermissionDenied, "refused_token"),
            (Code::Unavailable, "unavailable"),
            (Code::DeadlineExceeded, "timeout"),
            (Code::Cancelled, "timeout"),
            (Code::ResourceExhausted, "busy"),
            (Code::InvalidArgument, "invalid"),
            (Code::Internal, "other"),
            (Code::Unimplemented, "other"),
        ] {
            assert_eq!(Reason::of(&Status::new(code, "")).as_str(), reason);
        }
        for (at, reason) in Reason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, at, "counted at its own place");
        }
        let hidden = io::Error::other(rustls::Error::HandshakeNotComplete);
        let mut status = Status::unavailable("");
        status.set_source(std::sync::Arc::new(hidden));
        assert_eq!(Reason::of(&status), Reason::Tls);
    }
}
