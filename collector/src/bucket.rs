//! A bucket that fills with time: how much somebody may take, at once and for long. Pure.

use std::time::{Duration, Instant};

/// Longest time that somebody is told to wait.
pub const MAX_WAIT: Duration = Duration::from_mins(1);

/// Fills with time up to its brim; may be owed.
#[derive(Clone, Copy, Debug)]
pub struct Bucket {
    per_s: f64,
    brim: f64,
    level: f64,
    at: Instant,
}

impl Bucket {
    /// Filled to its brim.
    pub const fn full(per_s: f64, brim: f64, now: Instant) -> Self {
        Self {
            per_s,
            brim,
            level: brim,
            at: now,
        }
    }

    /// What the time since the last look gave.
    pub fn fill(&mut self, now: Instant) {
        let seconds = now.saturating_duration_since(self.at).as_secs_f64();
        self.level = (self.level + seconds * self.per_s).min(self.brim);
        self.at = now;
    }

    /// Until there is so much in it; zero if there is.
    pub fn until(&self, least: f64) -> Duration {
        let seconds = (least - self.level).max(0.0) / self.per_s;
        Duration::try_from_secs_f64(seconds).map_or(MAX_WAIT, |wait| wait.min(MAX_WAIT))
    }

    /// Takes so much out, whether it is there or not.
    pub fn take(&mut self, much: f64) {
        self.level -= much;
    }

    /// So much was not used after all.
    pub fn give_back(&mut self, much: f64) {
        self.level = (self.level + much).min(self.brim);
    }

    /// Whoever it is of has taken nothing for long.
    pub fn is_full(&self) -> bool {
        self.level >= self.brim
    }
}
