#![expect(clippy::disallowed_methods, reason = "shell: measures time")]
//! How fast the decoder of metadata requests is, on one core.

use std::time::Instant;

use fastrand::Rng;
use plimsoll_imds::{Decoder, Direction, Key, Limits};

use crate::imds_cases::{case, deliver, segment};

/// What was measured.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Speed {
    /// Payload bytes decoded in a second, in millions.
    pub megabytes_per_second: f64,
    /// Requests, with their answers, in a second.
    pub requests_per_second: f64,
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
    let start = Instant::now();
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
    let seconds = start.elapsed().as_secs_f64().max(f64::MIN_POSITIVE);
    Speed {
        megabytes_per_second: decoder.stats().bytes as f64 / 1e6 / seconds,
        requests_per_second: events as f64 / seconds,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn something_is_decoded() {
        let speed = decode(2000);
        println!("{speed:?}");
        assert!(speed.requests_per_second > 100.0, "{speed:?}");
    }
}
