//! How many requests were answered, by class of status. Pure.

use std::sync::atomic::{AtomicU64, Ordering};

use axum::http::StatusCode;

/// The classes, as they are called in metrics.
const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

/// Answers since the start.
#[derive(Debug, Default)]
pub struct Requests([AtomicU64; CLASSES.len()]);

impl Requests {
    pub(super) fn count(&self, status: StatusCode) {
        let class = usize::from(status.as_u16() / 100).saturating_sub(1);
        if let Some(count) = self.0.get(class) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Each class with its count.
    pub fn by_class(&self) -> Vec<(&'static str, u64)> {
        let counts = self.0.iter().map(|count| count.load(Ordering::Relaxed));
        CLASSES.into_iter().zip(counts).collect()
    }
}
