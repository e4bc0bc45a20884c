//! What most senders are: a bounded channel, and a thread that sends what is in it in batches and gives up after some
//! attempts. It keeps nothing on a disk, names nothing, checks nothing and proves nothing.

use std::process::{Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, TrySendError, sync_channel};
use std::time::{Duration, Instant};

use rustix::time::ClockId;
use serde_json::{Value, json};

use crate::receiver::{Receiver, now_ns};
use crate::{CALM, LIVE, OUTAGE};

/// The first argument of the process that is the sender.
pub(crate) const SELF: &str = "plain-sender";
/// Events that the channel holds, and that a batch has at the most.
const CHANNEL: usize = 10_000;
const BATCH: usize = 500;
const BATCH_WITHIN: Duration = Duration::from_millis(200);
const ATTEMPTS: u32 = 5;
/// Bytes of an event, as one of the trail has them.
const BYTES: usize = 2_000;

/// The same outage that [`crate::outage`] is about.
pub(crate) fn beside() -> Value {
    let receiver = Receiver::start();
    let seconds = (CALM + OUTAGE + CALM + CALM).as_secs();
    let sender = Command::new(std::env::current_exe().unwrap())
        .args([
            SELF.to_owned(),
            receiver.endpoint(),
            LIVE.to_string(),
            seconds.to_string(),
        ])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    std::thread::sleep(CALM);
    receiver.set_down(true);
    std::thread::sleep(OUTAGE);
    receiver.set_down(false);
    let said = sender.wait_with_output().unwrap();
    let mut figures: Value = serde_json::from_slice(&said.stdout).unwrap();
    let (made, came) = (
        figures["made"].as_u64().unwrap(),
        receiver.received() as u64,
    );
    figures["received"] = came.into();
    figures["lost_percent"] = (100.0 * (made - came.min(made)) as f64 / made as f64).into();
    figures
}

/// The sender: endpoint, records a second, seconds.
pub(crate) fn run(arguments: &[String]) {
    let [_, endpoint, rate, seconds] = arguments else {
        panic!("{SELF} ENDPOINT RATE SECONDS");
    };
    let (rate, seconds): (u32, u32) = (rate.parse().unwrap(), seconds.parse().unwrap());
    let (events, channel) = sync_channel::<String>(CHANNEL);
    let url = format!("{endpoint}/services/collector/event");
    let sending = std::thread::spawn(move || {
        let mut given_up = 0_usize;
        let mut batch: Vec<String> = Vec::new();
        let mut due = Instant::now() + BATCH_WITHIN;
        loop {
            let next = channel.recv_timeout(due.saturating_duration_since(Instant::now()));
            let is_end = matches!(next, Err(RecvTimeoutError::Disconnected));
            let is_late = next.is_err();
            batch.extend(next);
            if batch.len() >= BATCH || is_late {
                if !batch.is_empty() && !send(&url, &batch.concat()) {
                    given_up += batch.len();
                }
                batch.clear();
                due = Instant::now() + BATCH_WITHIN;
            }
            if is_end {
                return given_up;
            }
        }
    });
    let filler = "x".repeat(BYTES);
    let begin = Instant::now();
    let (mut made, mut full) = (0_u32, 0_u32);
    while made < rate * seconds {
        let due = begin + Duration::from_secs(1) * made / rate;
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        let time = now_ns() as f64 / 1e9;
        let event = json!({"time": time, "event": {"seq": made, "text": filler}});
        match events.try_send(event.to_string()) {
            Err(TrySendError::Full(_)) => full += 1,
            sent => sent.unwrap(),
        }
        made += 1;
    }
    drop(events);
    let given_up = sending.join().unwrap();
    let cpu = rustix::time::clock_gettime(ClockId::ProcessCPUTime);
    let cpu = Duration::try_from(cpu).unwrap().as_secs_f64();
    println!(
        "{}",
        json!({
            "made": made,
            "channel_was_full": full,
            "given_up": given_up,
            "records_per_cpu_second": (f64::from(made) / cpu).round(),
        })
    );
}

fn send(url: &str, body: &str) -> bool {
    for attempt in 0..ATTEMPTS {
        if ureq::post(url).send(body).is_ok() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(100) * 2_u32.pow(attempt));
    }
    false
}
