#![expect(clippy::disallowed_methods, reason = "shell: measures time")]
//! How fast the decoder of metadata requests is, on one core.

use std::time::{Duration, Instant};

use fastrand::Rng;
use plimsoll_imds::{Decoder, Direction, Key, Limits};
use rustix::time::{ClockId, clock_gettime};

use crate::imds_cases::{case, deliver, segment};

/// What was decoded, and how long it took.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Speed {
    /// Requests that were told.
    pub events: u64,
    /// Payload bytes of requests and answers.
    pub bytes: u64,
    wall: Duration,
    cpu: Duration,
}

impl Speed {
    /// So many of something in a second of the clock.
    pub fn per_second(&self, count: u64) -> f64 {
        count as f64 / self.wall.as_secs_f64().max(f64::MIN_POSITIVE)
    }

    /// So many of something in a second of this process's CPU time, which others on the machine
    /// change less.
    pub fn per_cpu_second(&self, count: u64) -> f64 {
        count as f64 / self.cpu.as_secs_f64().max(f64::MIN_POSITIVE)
    }
}

fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// Requests on one connection before it ends.
const KEPT_ALIVE: u32 = 8;

/// Decodes so many requests of every kind with answers of 1.2 KB, which is what credentials have.
pub fn decode(requests: u32) -> Speed {
    let mut rng = Rng::with_seed(1);
    let cases: Vec<Vec<u8>> = (0..512).map(|_| case(&mut rng).request).collect();
    let plans: Vec<_> = cases
        .iter()
        .map(|request| (request.len(), deliver(&mut rng, request)))
        .collect();
    let answer = format!(
        "HTTP/1.1 200 OK\r\nServer: EC2ws\r\nContent-Type: text/plain\r\nContent-Length: 1200\r\n\r\n{}",
        "c".repeat(1200)
    );
    let mut decoder = Decoder::new(Limits::default(), &Key([5; 32]));
    let mut events = 0_u64;
    let (mut key, mut up, mut down, mut now_ns) = (0_u64, 0_u32, 0_u32, 0_u64);
    let (start, cpu) = (Instant::now(), cpu_time());
    for (index, (len, pieces)) in (0..requests).zip(plans.iter().cycle()) {
        if index % KEPT_ALIVE == 0 {
            key += 1;
            (up, down) = (1, 1);
        }
        now_ns += 100_000;
        for (at, piece) in pieces {
            let segment = segment(key, Direction::Request, up.wrapping_add(*at), piece, now_ns);
            decoder.push(&segment, &mut |_| events += 1);
        }
        up = up.wrapping_add(u32::try_from(*len).unwrap_or(0));
        let segment = segment(key, Direction::Response, down, answer.as_bytes(), now_ns);
        decoder.push(&segment, &mut |_| events += 1);
        down = down.wrapping_add(u32::try_from(answer.len()).unwrap_or(0));
    }
    decoder.finish(&mut |_| events += 1);
    Speed {
        events,
        bytes: decoder.stats().bytes,
        wall: start.elapsed(),
        cpu: cpu_time().saturating_sub(cpu),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_request_is_told() {
        let speed = decode(2000);
        // Answers to what could not be read as a request are told by themselves.
        assert!((2000..2100).contains(&speed.events), "{speed:?}");
        assert!(speed.bytes > 2000 * 1200, "{speed:?}");
    }
}
