//! How many requests were answered, by class of status, and what was not let in. Pure.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::http::StatusCode;

use crate::connections::{Connections, Full};

/// The classes, as they are called in metrics.
const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

/// Why a connection is refused or broken off: no place, a head that does not come, an answer that is
/// not taken.
const REFUSALS: [&str; 3] = [Full::All.reason(), "slow", "stalled"];

/// Answers since the start.
#[derive(Debug, Default)]
pub struct Requests {
    answered: [AtomicU64; CLASSES.len()],
    refused: [AtomicU64; REFUSALS.len()],
    connections: OnceLock<Connections>,
}

impl Requests {
    pub(super) fn count(&self, status: StatusCode) {
        let class = usize::from(status.as_u16() / 100).saturating_sub(1);
        if let Some(count) = self.answered.get(class) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(super) fn refuse(&self, reason: &str) {
        let refusals = REFUSALS.iter().zip(&self.refused);
        for (_, count) in refusals.filter(|(known, _)| **known == reason) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(super) fn watch(&self, connections: Connections) {
        // A second door that counts here is none of ours; the first stays.
        drop(self.connections.set(connections));
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
        REFUSALS.into_iter().zip(counts).collect()
    }

    /// Connections that are open.
    pub fn connections(&self) -> u64 {
        self.connections.get().map_or(0, |open| open.open() as u64)
    }
}
