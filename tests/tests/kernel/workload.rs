//! What the scenarios start as processes of their own: this binary with another first argument.
//! Each joins its cgroup before it does anything, and says on stdout what it knows about itself.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use crate::host;

pub(crate) fn run(arguments: &[String]) {
    let [kind, cgroup, rest @ ..] = arguments else {
        panic!("a workload needs a cgroup")
    };
    fs::write(format!("{cgroup}/cgroup.procs"), "0").unwrap();
    match (kind.as_str(), rest) {
        ("workload-get", [namespace, address, bytes]) => {
            get(namespace, address, bytes.parse().unwrap());
        }
        ("workload-burn", [busy_ms, idle_ms, times]) => {
            burn(
                busy_ms.parse().unwrap(),
                idle_ms.parse().unwrap(),
                times.parse().unwrap(),
            );
        }
        ("workload-eat", [limited]) => eat(limited),
        _ => panic!("no such workload: {arguments:?}"),
    }
}

/// The request that `workload-get` sends: a head padded to at least that many bytes.
pub(crate) fn request(bytes: usize) -> Vec<u8> {
    let head = "GET /latest/meta-data/ HTTP/1.1\r\nHost: 169.254.169.254\r\nX-Padding: ";
    let mut request = head.as_bytes().to_vec();
    // Not all the same letter, so that a chunk in the wrong place is noticed.
    request.extend(
        (b'a'..=b'y')
            .cycle()
            .take(bytes.saturating_sub(head.len() + 4)),
    );
    request.extend(b"\r\n\r\n");
    request
}

/// Sends one request from a pod's network namespace and reads to the end.
fn get(namespace: &str, address: &str, bytes: usize) {
    host::enter(namespace);
    let address: SocketAddr = address.parse().unwrap();
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(5)).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(5)))
        .unwrap();
    stream.write_all(&request(bytes)).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    print!("{}", answer.len());
}

/// Joins a cgroup with a memory limit and takes memory until it is killed, four times the limit of
/// the scenario at most.
fn eat(limited: &str) {
    fs::write(format!("{limited}/cgroup.procs"), "0").unwrap();
    let mut taken = Vec::new();
    for value in 1..=64 {
        // Not zero: zeros would be mapped, not taken.
        taken.push(vec![value; 1 << 20]);
    }
    print!("{}", taken.len());
}

/// Uses a CPU, pauses, again; says how many nanoseconds the scheduler gave it since it joined.
fn burn(busy_ms: u64, idle_ms: u64, times: u32) {
    let start = on_cpu_ns();
    for _ in 0..times {
        let until = Instant::now() + Duration::from_millis(busy_ms);
        while Instant::now() < until {
            std::hint::spin_loop();
        }
        std::thread::sleep(Duration::from_millis(idle_ms));
    }
    print!("{}", on_cpu_ns() - start);
    std::io::stdout().flush().unwrap();
    // Stays until it is read from, so that its cgroup can be looked at while it exists.
    drop(std::io::stdin().read(&mut [0]));
}

/// First number of schedstat: time on a CPU in nanoseconds, from the scheduler itself.
fn on_cpu_ns() -> u64 {
    let text = fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    text.split(' ').next().unwrap().parse().unwrap()
}
