//! From samples of one container to windows aligned to the wall clock.
//!
//! ```text
//!  12:00:00              12:01:00              12:02:00
//!     ├──────── window ─────┼──────── window ─────┤
//!        s───s───s───s───s──┼s───s───s             s: samples; what lies between two is split in
//!        └ observed_ns ─────┴────────┘                proportion where a window ends within it
//! ```
//!
//! * A window closes with the first sample beyond its end, so the last one is still open when the
//!   container ends or the agent stops, and can be marked.
//! * Every nanosecond of CPU time between two samples is in exactly one window.
//! * A window that *begins* in the start-up time belongs to the start-up whole, so the steady windows
//!   hold no start-up and each (container, window) exists once. The start-up phase so lasts up to
//!   one window longer than configured.
//! * Only intervals of about a second go into the distribution over one-second samples. A longer
//!   one still counts for `used_ns` and coverage; its mean would hide the bursts within it.
//!
//! Time arrives as samples and as a [`Timeline`]; there is no clock and no I/O here.

use plimsoll_wire::usage::{CpuUsage, MemoryUsage, Phase, Pressure};
use plimsoll_wire::{Identity, Sketch, UsageWindow};

use super::delta::{Delta, Reset};
use super::sample::MemoryNow;
use super::tally::Tally;
use super::{Sample, Timeline};

const SECOND_NS: u64 = 1_000_000_000;
/// Intervals between these count as one-second samples: those that can be configured (500 ms to 2 s), and
/// what a tick and a round of reads come early or late.
const SHORTEST_SAMPLE_NS: u64 = 400_000_000;
const LONGEST_SAMPLE_NS: u64 = 2_500_000_000;
/// An interval over more windows than this was a pause of the whole machine, or worse: nothing is
/// known about it but the total, which no window can hold.
const MAX_WINDOWS_PER_INTERVAL: u64 = 16;

/// Lengths, nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spec {
    /// Of a window; at least one second.
    pub length_ns: u64,
    /// Of the start-up phase after a container's start.
    pub startup_ns: u64,
}

impl Default for Spec {
    fn default() -> Self {
        Self {
            length_ns: 60 * SECOND_NS,
            startup_ns: 120 * SECOND_NS,
        }
    }
}

/// What one sample led to, for the agent's counters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Booked {
    /// The interval before this sample was dropped whole.
    pub reset: Option<Reset>,
    /// The interval was longer than any window may hold.
    pub gap: bool,
    /// Counters that fell.
    pub fallen: u32,
}

/// A container's whole observed life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Life {
    /// When its cgroup was made, CLOCK_MONOTONIC; `None` if before we looked.
    pub started_mono_ns: Option<u64>,
    /// CPU time from its start, or from our first sample of it.
    pub cpu_used_ns: Option<u64>,
    /// The highest memory that was sampled or that the kernel told.
    pub memory_peak_bytes: Option<u64>,
    /// 100 ms periods that are in no window: there was no sample that would have opened one.
    pub unshown_periods: u64,
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Windows {
    identity: Identity,
    spec: Spec,
    last: Option<Sample>,
    /// Wall-clock time up to which windows are filled.
    shown_unix_ns: u64,
    /// 100 ms periods since the last window was closed.
    periods: Sketch,
    open: Option<Open>,
    life: Life,
    oom_kills: Tally,
    limit_failures: Tally,
}

#[derive(Clone, Debug)]
struct Open {
    window: UsageWindow,
    memory_sum: u128,
    memory_samples: u64,
}

impl Windows {
    /// For a container whose cgroup was made at `started_mono_ns`, if that was seen.
    pub fn new(identity: Identity, started_mono_ns: Option<u64>, spec: Spec) -> Self {
        Self {
            identity,
            spec: Spec {
                length_ns: spec.length_ns.max(SECOND_NS),
                ..spec
            },
            last: None,
            shown_unix_ns: 0,
            periods: Sketch::default(),
            open: None,
            life: Life {
                started_mono_ns,
                ..Life::default()
            },
            oom_kills: Tally::default(),
            limit_failures: Tally::default(),
        }
    }

    /// It has become known when the cgroup was made: its record came after it was found.
    pub fn born(&mut self, at_mono_ns: u64) {
        let started = *self.life.started_mono_ns.get_or_insert(at_mono_ns);
        let seen = self.last.map_or(at_mono_ns, |last| last.at_mono_ns);
        if let Some(open) = &mut self.open
            && seen.saturating_sub(started) < self.spec.startup_ns
        {
            open.window.phase = Phase::Startup;
        }
    }

    /// The cgroup's name has become known better: the open window has it too.
    pub fn rename(&mut self, identity: &Identity) {
        if self.identity != *identity {
            self.identity = identity.clone();
            if let Some(open) = &mut self.open {
                open.window.identity = identity.clone();
            }
        }
    }

    /// Whose windows.
    pub const fn identity(&self) -> &Identity {
        &self.identity
    }

    /// `times` closed 100 ms periods in each of which `used_ns` of CPU time were used. Those without
    /// any use count as well. Hand them over before the sample that follows them; they go to the
    /// window that is open then, so up to a second of them may be in the window before.
    pub fn add_periods(&mut self, used_ns: u64, times: u64) {
        self.periods.add_n(used_ns.saturating_mul(10), times);
    }

    /// Takes in a sample; windows that it completes are appended to `closed`.
    pub fn add(
        &mut self,
        sample: &Sample,
        timeline: &Timeline,
        closed: &mut Vec<UsageWindow>,
    ) -> Booked {
        let born = |at: u64| sample.at_birth(at);
        let earlier = self.last.or_else(|| self.life.started_mono_ns.map(born));
        let mut booked = Booked::default();
        match earlier.map(|earlier| Delta::between(&earlier, sample)) {
            None => {}
            Some(Err(reset)) => {
                booked.reset = Some(reset);
                if reset == Reset::TimeNotRising && self.last.is_some() {
                    return booked;
                }
            }
            Some(Ok(delta)) => {
                booked.fallen = delta.fallen;
                if delta.length_ns / self.spec.length_ns > MAX_WINDOWS_PER_INTERVAL {
                    booked.gap = true;
                } else {
                    self.book(delta, sample, timeline, closed);
                }
            }
        }
        self.book_levels(sample, timeline, closed);
        self.last = Some(*sample);
        booked
    }

    /// The kernel's memory peak, read between two samples.
    pub fn add_memory_peak(&mut self, bytes: u64) {
        raise(&mut self.life.memory_peak_bytes, Some(bytes));
        if let Some(open) = &mut self.open {
            raise(&mut open.window.memory.lifetime_peak_bytes, Some(bytes));
        }
    }

    /// The kernel told of an OOM kill in it. The sample that would find it in the files need never come:
    /// the container may end with the process that was killed.
    pub fn oom_killed(&mut self, now: &MemoryNow, at_mono_ns: u64, timeline: &Timeline) {
        let is_young = self.life.started_mono_ns.is_some();
        let is_read = now.events.oom_kills.is_some();
        let kills = match self.oom_kills.rise(now.events.oom_kills, is_young) {
            Some(kills) => kills,
            None if is_read => 1,
            None => self.oom_kills.once(),
        };
        let failures = self
            .limit_failures
            .rise(now.events.limit_failures, is_young);
        raise(&mut self.life.memory_peak_bytes, now.peak_bytes);
        // What is open may have ended up to a second ago; the next sample closes it.
        if self.open.is_none() {
            let at = timeline.wall_at(at_mono_ns).max(self.shown_unix_ns);
            self.open_at(at, at_mono_ns, &mut Vec::new());
            self.shown_unix_ns = at;
        }
        if let Some(open) = &mut self.open {
            let memory = &mut open.window.memory;
            raise(&mut memory.lifetime_peak_bytes, now.peak_bytes);
            memory.limit_bytes = now.limit_bytes.or(memory.limit_bytes);
            sum(&mut memory.oom_kills, Some(kills));
            sum(&mut memory.limit_failures, failures);
            if !is_read {
                // That there was none before says nothing of the one that killed.
                memory.limit_failures = memory.limit_failures.filter(|count| *count > 0);
            }
        }
    }

    /// The container ended, or the agent stops: closes what is open, as it is.
    pub fn finish(mut self, closed: &mut Vec<UsageWindow>) -> Life {
        if let Some(open) = self.open.take() {
            let shown = self.shown_unix_ns;
            let mut window = open.close(std::mem::take(&mut self.periods));
            window.last = true;
            window.end_unix_ns = window.end_unix_ns.min(shown).max(window.start_unix_ns);
            closed.push(window);
        }
        self.life.unshown_periods = self.periods.count();
        self.life
    }

    /// Spreads an interval over the windows that it touches.
    fn book(
        &mut self,
        mut delta: Delta,
        sample: &Sample,
        timeline: &Timeline,
        closed: &mut Vec<UsageWindow>,
    ) {
        if let Some(used) = delta.cpu_used_ns {
            let total = self.life.cpu_used_ns.get_or_insert(0);
            *total = total.saturating_add(used);
        }
        let rate = delta
            .cpu_used_ns
            .and_then(|used| per_second(used, delta.length_ns));
        let begun_mono_ns = sample.at_mono_ns.saturating_sub(delta.length_ns);
        let end = timeline.wall_at(sample.at_mono_ns);
        // The timeline runs slower while it is ahead, so the interval may be shorter on it.
        let mut begin = end
            .saturating_sub(delta.length_ns)
            .max(self.shown_unix_ns)
            .min(end);
        loop {
            let open = self.open_at(begin, begun_mono_ns, closed);
            let part_end = open.window.end_unix_ns.min(end);
            let part = delta.split_off(part_end - begin, end - begin);
            open.book(&part);
            if part_end == end {
                if let Some(rate) = rate {
                    open.window.cpu.per_second.add(rate);
                }
                break;
            }
            begin = part_end;
        }
        self.shown_unix_ns = end;
    }

    /// Books what is a level and no counter at the time of the sample.
    fn book_levels(&mut self, sample: &Sample, timeline: &Timeline, closed: &mut Vec<UsageWindow>) {
        let at = timeline.wall_at(sample.at_mono_ns).max(self.shown_unix_ns);
        // A sample at the very end of a window belongs to the time before it.
        let within = if self
            .open
            .as_ref()
            .is_some_and(|open| open.window.end_unix_ns == at)
        {
            at - 1
        } else {
            at
        };
        let is_young = self.life.started_mono_ns.is_some();
        let events = sample
            .memory
            .map(|memory| memory.events)
            .unwrap_or_default();
        let kills = self.oom_kills.rise(events.oom_kills, is_young);
        let failures = self.limit_failures.rise(events.limit_failures, is_young);
        let open = self.open_at(within, sample.at_mono_ns, closed);
        open.book_levels(sample);
        sum(&mut open.window.memory.oom_kills, kills);
        sum(&mut open.window.memory.limit_failures, failures);
        self.shown_unix_ns = at;
        if let Some(memory) = sample.memory {
            // Nothing at all is a container that was seen empty, before or after its processes.
            let seen = memory.current_bytes.max(memory.peak_bytes);
            raise(
                &mut self.life.memory_peak_bytes,
                seen.filter(|bytes| *bytes > 0),
            );
        }
    }

    /// The window of that time; closes the one before.
    fn open_at(
        &mut self,
        at_unix_ns: u64,
        at_mono_ns: u64,
        closed: &mut Vec<UsageWindow>,
    ) -> &mut Open {
        let length = self.spec.length_ns;
        let start = at_unix_ns - at_unix_ns % length;
        if let Some(done) = self.open.take_if(|open| open.window.start_unix_ns != start) {
            closed.push(done.close(std::mem::take(&mut self.periods)));
        }
        let phase = match self.life.started_mono_ns {
            Some(started) if at_mono_ns.saturating_sub(started) < self.spec.startup_ns => {
                Phase::Startup
            }
            _ => Phase::Steady,
        };
        let identity = &self.identity;
        self.open.get_or_insert_with(|| {
            Open::new(identity.clone(), start, start.saturating_add(length), phase)
        })
    }
}

impl Open {
    fn new(identity: Identity, start_unix_ns: u64, end_unix_ns: u64, phase: Phase) -> Self {
        let window = UsageWindow {
            identity,
            start_unix_ns,
            end_unix_ns,
            observed_ns: 0,
            phase,
            last: false,
            cpu: CpuUsage::default(),
            memory: MemoryUsage::default(),
            cpu_pressure: Pressure::default(),
            memory_pressure: Pressure::default(),
            io_pressure: Pressure::default(),
            io_read_bytes: None,
            io_written_bytes: None,
            pids_peak: None,
        };
        Self {
            window,
            memory_sum: 0,
            memory_samples: 0,
        }
    }

    fn book(&mut self, part: &Delta) {
        let window = &mut self.window;
        window.observed_ns = window.observed_ns.saturating_add(part.length_ns);
        let cpu = &mut window.cpu;
        cpu.source = part.cpu_source.or(cpu.source);
        sum(&mut cpu.used_ns, part.cpu_used_ns);
        sum(&mut cpu.periods, part.periods);
        sum(&mut cpu.throttled_periods, part.throttled_periods);
        sum(&mut cpu.throttled_usec, part.throttled_usec);
        for (into, from) in [
            (&mut window.cpu_pressure, part.cpu_pressure),
            (&mut window.memory_pressure, part.memory_pressure),
            (&mut window.io_pressure, part.io_pressure),
        ] {
            sum(&mut into.some_usec, from.some_usec);
            sum(&mut into.full_usec, from.full_usec);
        }
        sum(&mut window.io_read_bytes, part.io_read_bytes);
        sum(&mut window.io_written_bytes, part.io_written_bytes);
    }

    fn book_levels(&mut self, sample: &Sample) {
        raise(&mut self.window.pids_peak, sample.pids);
        let Some(found) = sample.memory else { return };
        let memory = &mut self.window.memory;
        memory.source = Some(found.source);
        memory.limit_bytes = found.limit_bytes;
        raise(&mut memory.sampled_peak_bytes, found.current_bytes);
        raise(&mut memory.lifetime_peak_bytes, found.peak_bytes);
        if let Some(stat) = found.stat {
            raise(&mut memory.anon_peak_bytes, stat.anon_bytes);
            raise(&mut memory.file_peak_bytes, stat.file_bytes);
            let set = found.current_bytes.zip(stat.inactive_file_bytes);
            raise(
                &mut memory.working_set_peak_bytes,
                set.map(|(all, idle)| all.saturating_sub(idle)),
            );
        }
        if let Some(current) = found.current_bytes {
            self.memory_sum += u128::from(current);
            self.memory_samples += 1;
        }
    }

    fn close(mut self, periods: Sketch) -> UsageWindow {
        self.window.cpu.per_100ms = periods;
        let mean = self.memory_sum.checked_div(u128::from(self.memory_samples));
        self.window.memory.mean_bytes = mean.and_then(|mean| u64::try_from(mean).ok());
        self.window
    }
}

/// Use over an interval of about a second, scaled to one.
fn per_second(used_ns: u64, length_ns: u64) -> Option<u64> {
    if !(SHORTEST_SAMPLE_NS..=LONGEST_SAMPLE_NS).contains(&length_ns) {
        return None;
    }
    let rate = u128::from(used_ns) * u128::from(SECOND_NS) / u128::from(length_ns);
    Some(u64::try_from(rate).unwrap_or(u64::MAX))
}

fn sum(into: &mut Option<u64>, from: Option<u64>) {
    if let Some(more) = from {
        *into = Some(into.unwrap_or(0).saturating_add(more));
    }
}

fn raise(into: &mut Option<u64>, to: Option<u64>) {
    *into = (*into).max(to);
}

#[cfg(test)]
mod tests;
