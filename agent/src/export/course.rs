//! How the sending of one class goes: what the last answers were, and what follows from the next.
//! Pure but for the log.

use std::sync::Arc;
use std::time::Duration;

use plimsoll_wire::{Class, retry as wire_retry};
use tonic::Status;

use super::link::Token;
use super::retry::{self, Backoff, Unreadable, Verdict};
use super::standing::{self, Reason, Standing};
use crate::config;

/// See the module.
pub(super) struct Course {
    pub(super) class: Class,
    pub(super) token: Token,
    pub(super) backoff: Backoff,
    pub(super) max_records: usize,
    pub(super) unreadable: Unreadable,
    place: Place,
    standing: Arc<Standing>,
}

/// Where the records go, and the settings that may have to be mended.
struct Place {
    endpoint: String,
    token: String,
    authorities: String,
    name: String,
    /// The endpoint is one without TLS.
    is_plain: bool,
}

/// Of an `https://` endpoint.
const NO_TLS_THERE: &str =
    "export.endpoint: the collector there has no TLS, or it is something else";
/// Of an `http://` endpoint.
const PERHAPS_TLS_THERE: &str = "export.endpoint: if the collector there has TLS, it is https://";

impl Place {
    fn of(config: &config::Export) -> Self {
        let named = |setting: &str, path: Option<&std::path::PathBuf>| match path {
            Some(path) => format!("{setting} {}", path.display()),
            None => format!("{setting} is not set"),
        };
        Self {
            endpoint: config.endpoint.clone(),
            is_plain: config.endpoint.starts_with("http://"),
            token: named("export.token_file", config.token_file.as_ref()),
            authorities: named("export.ca_file", config.ca_file.as_ref()),
            name: match &config.server_name {
                Some(name) => format!("export.server_name {name}"),
                None => "export.server_name is not set".to_owned(),
            },
        }
    }

    fn setting(&self, reason: Reason, status: &Status) -> Option<&str> {
        match reason {
            Reason::Tls if standing::is_of_another_name(status) => Some(&self.name),
            Reason::Tls if standing::is_plain_text(status) => Some(NO_TLS_THERE),
            Reason::NoToken | Reason::RefusedToken => Some(&self.token),
            Reason::Tls => Some(&self.authorities),
            Reason::Other if self.is_plain && standing::is_of_connection(status) => {
                Some(PERHAPS_TLS_THERE)
            }
            _ => None,
        }
    }
}

impl Course {
    pub(super) fn new(class: Class, config: &config::Export, standing: Arc<Standing>) -> Self {
        Self {
            class,
            token: Token::default(),
            backoff: Backoff::default(),
            max_records: config.batch_records,
            unreadable: Unreadable::default(),
            place: Place::of(config),
            standing,
        }
    }

    /// The next batch has half of what this one had.
    pub(super) fn halve(&mut self, records: usize) {
        self.max_records = (records / 2).max(1);
    }

    /// A batch was taken: the next may have twice as many records, up to `max_records`, because a
    /// path that is slow stays slow.
    pub(super) fn went_well(&mut self, max_records: usize) {
        if self.standing.went_well(self.class) {
            let class = self.class.as_str();
            let endpoint = &self.place.endpoint;
            tracing::info!(class, endpoint, "collector takes records again");
        }
        self.backoff = Backoff::default();
        self.max_records = self.max_records.saturating_mul(2).min(max_records);
    }

    /// How long to wait before the next try; `chance` lies in 0 to 1.
    pub(super) fn pause(&mut self, status: &Status, chance: f64) -> Duration {
        retry::pause(
            self.backoff.next(chance),
            wire_retry::asked(status.details()),
        )
    }

    /// What follows. Each change of the reason is told once; `/readyz` shows it as long as it lasts.
    pub(super) fn failed(&mut self, status: &Status, records: usize) -> Verdict {
        let verdict = retry::verdict(status.code(), records);
        let (reason, error) = (Reason::of(status), standing::cause(status));
        let endpoint = &self.place.endpoint;
        let setting = self.place.setting(reason, status);
        let place = match setting {
            Some(setting) => format!("{endpoint}, {setting}"),
            None => endpoint.clone(),
        };
        if self.standing.failed(self.class, reason, &error, &place) {
            tracing::warn!(
                class = self.class.as_str(),
                reason = reason.as_str(),
                code = ?status.code(),
                error,
                endpoint,
                setting,
                ?verdict,
                records,
                "collector did not take a batch; trying until it does"
            );
        }
        verdict
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Where only `fits` records get through in time, everything gets through, and when the path is fast
    /// again, whole batches go.
    #[test]
    fn a_slow_path_gets_what_fits_and_grows_again() {
        let config = config::Export::default();
        let mut course = Course::new(Class::Usage, &config, Arc::default());
        let mut sent = |waiting: usize, fits: usize| {
            let (mut left, mut requests) = (waiting, 0);
            while left > 0 {
                requests += 1;
                assert!(requests < 1_000, "{left} left");
                let records = left.min(course.max_records);
                if records <= fits {
                    left -= records;
                    course.went_well(512);
                } else {
                    let late = Status::deadline_exceeded("too slow");
                    assert_eq!(course.failed(&late, records), Verdict::Shorter);
                    course.halve(records);
                }
            }
            requests
        };
        assert_eq!(sent(1_024, 512), 2);
        assert!(sent(1_024, 100) > 10);
        assert!(sent(10_240, 512) < 30);
    }

    /// The collector's words count for the pause that follows.
    #[test]
    fn a_pause_is_not_shorter_than_the_collector_asks_for() {
        let mut course = Course::new(Class::Usage, &config::Export::default(), Arc::default());
        let busy = wire_retry::details(8, "later", Duration::from_millis(1500)).into();
        let busy = Status::with_details(tonic::Code::ResourceExhausted, "later", busy);
        assert_eq!(course.pause(&busy, 0.0), Duration::from_millis(1500));
        let away = Status::unavailable("away");
        assert_eq!(course.pause(&away, 0.0), Duration::ZERO);
    }
}
