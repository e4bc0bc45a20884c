//! How many requests were answered, by class of status, and what was not let in. Pure.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::http::StatusCode;

use crate::connections::Full;
use crate::connections::guests::Guests;
use crate::connections::paced::Late;

/// The classes, as they are called in metrics.
const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

/// Why a connection is refused or broken off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// No place, or one that a newcomer got.
    Full,
    /// A head that does not come.
    Slow,
    /// An answer that is not taken.
    Stalled,
    /// A handshake that fails.
    Tls,
}

/// What became of a request by who asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Decision {
    /// The right was there.
    Allowed,
    /// It was not.
    Denied,
    /// Nobody was known.
    Unauthenticated,
    /// The API server did not say.
    Unavailable,
    /// It was not asked: too much was for that user or address.
    Limited,
}

impl Decision {
    const ALL: [Self; 5] = [
        Self::Allowed,
        Self::Denied,
        Self::Unauthenticated,
        Self::Unavailable,
        Self::Limited,
    ];

    /// As metrics say it.
    const fn name(self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::Denied => "denied",
            Self::Unauthenticated => "unauthenticated",
            Self::Unavailable => "unavailable",
            Self::Limited => "limited",
        }
    }
}

impl Refusal {
    const ALL: [Self; 4] = [Self::Full, Self::Slow, Self::Stalled, Self::Tls];

    /// As metrics say it.
    const fn reason(self) -> &'static str {
        match self {
            Self::Full => Full::All.reason(),
            Self::Slow => "slow",
            Self::Stalled => Late::Stalled.reason(),
            Self::Tls => "tls",
        }
    }
}

impl From<Late> for Refusal {
    fn from(late: Late) -> Self {
        match late {
            Late::Silent => Self::Slow,
            Late::Stalled => Self::Stalled,
        }
    }
}

/// Answers since the start.
#[derive(Debug, Default)]
pub struct Requests {
    answered: [AtomicU64; CLASSES.len()],
    refused: [AtomicU64; Refusal::ALL.len()],
    decided: [AtomicU64; Decision::ALL.len()],
    remembered: AtomicU64,
    guests: OnceLock<Guests>,
}

impl Requests {
    pub(super) fn count(&self, status: StatusCode) {
        let class = usize::from(status.as_u16() / 100).saturating_sub(1);
        if let Some(count) = self.answered.get(class) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(super) fn refuse(&self, refusal: Refusal) {
        let mut counts = Refusal::ALL.iter().zip(&self.refused);
        if let Some((_, count)) = counts.find(|(of, _)| **of == refusal) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(super) fn decide(&self, decision: Decision) {
        let mut counts = Decision::ALL.iter().zip(&self.decided);
        if let Some((_, count)) = counts.find(|(of, _)| **of == decision) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// So many answers of the API server are remembered.
    pub(super) fn remembered(&self, answers: usize) {
        self.remembered.store(answers as u64, Ordering::Relaxed);
    }

    pub(super) fn watch(&self, guests: Guests) {
        // A second door that counts here is none of ours; the first stays.
        drop(self.guests.set(guests));
    }

    /// Each class with its count.
    pub fn by_class(&self) -> Vec<(&'static str, u64)> {
        let counts = self
            .answered
            .iter()
            .map(|count| count.load(Ordering::Relaxed));
        CLASSES.into_iter().zip(counts).collect()
    }

    /// Connections that were refused or broken off, by reason.
    pub fn refused(&self) -> Vec<(&'static str, u64)> {
        let counts = self
            .refused
            .iter()
            .map(|count| count.load(Ordering::Relaxed));
        Refusal::ALL
            .map(Refusal::reason)
            .into_iter()
            .zip(counts)
            .collect()
    }

    /// Decisions about who may see what, by what they were.
    pub fn decided(&self) -> Vec<(&'static str, u64)> {
        let counts = self
            .decided
            .iter()
            .map(|count| count.load(Ordering::Relaxed));
        Decision::ALL
            .map(Decision::name)
            .into_iter()
            .zip(counts)
            .collect()
    }

    /// Answers of the API server that are remembered.
    pub fn answers_remembered(&self) -> u64 {
        self.remembered.load(Ordering::Relaxed)
    }

    /// Connections that are open.
    pub fn connections(&self) -> u64 {
        self.guests.get().map_or(0, |guests| guests.open() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_is_counted_under_its_own_reason() {
        let requests = Requests::default();
        for (at, refusal) in Refusal::ALL.into_iter().enumerate() {
            for _ in 0..=at {
                requests.refuse(refusal);
            }
        }
        let counted = [
            ("too_many_connections", 1),
            ("slow", 2),
            ("stalled", 3),
            ("tls", 4),
        ];
        assert_eq!(requests.refused(), counted);
        for (at, decision) in Decision::ALL.into_iter().enumerate() {
            for _ in 0..=at {
                requests.decide(decision);
            }
        }
        let counted = [
            ("allowed", 1),
            ("denied", 2),
            ("unauthenticated", 3),
            ("unavailable", 4),
            ("limited", 5),
        ];
        assert_eq!(requests.decided(), counted);
    }
}
