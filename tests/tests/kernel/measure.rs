//! What a run of a hook costs, from the kernel's own statistics (`kernel.bpf_stats_enabled`). The
//! two clock reads of the statistics are in the number, about 50 ns of it.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::UdpSocket,
    os::{
        fd::{AsRawFd as _, BorrowedFd},
        unix::net::UnixStream,
    },
};

use plimsoll_agent::probe::{Probe, ProgramName};
use rustix::thread::{CpuSet, sched_setaffinity};

use crate::host::{self, Network, Sysctl};

/// Runs of one program and their time.
pub(crate) struct Cost {
    pub name: ProgramName,
    pub runs: u64,
    pub time_ns: u64,
}

impl Cost {
    pub(crate) fn ns_per_run(&self) -> f64 {
        self.time_ns as f64 / self.runs as f64
    }
}

/// Packets that are not for us, and switches; or why it cannot be measured.
pub(crate) fn hooks(probe: &Probe) -> Result<Vec<Cost>, String> {
    let _stats = Sysctl::set("kernel/bpf_stats_enabled", "1")
        .map_err(|error| format!("no BPF statistics: {error}"))?;
    let network = Network::make();
    let measured = [
        ProgramName::PacketEgress,
        ProgramName::PacketIngress,
        ProgramName::SchedSwitch,
    ];
    let read = |name: ProgramName| {
        probe
            .program_fd(name)
            .map(statistics)
            .ok_or(format!("{name} is not attached"))
    };
    let before = measured
        .iter()
        .map(|name| read(*name))
        .collect::<Result<Vec<_>, _>>()?;
    let namespace = network.imds.clone();
    std::thread::spawn(move || packets(&namespace))
        .join()
        .unwrap();
    std::thread::spawn(|| switches(true)).join().unwrap();
    let after = measured
        .iter()
        .map(|name| read(*name))
        .collect::<Result<Vec<_>, _>>()?;
    let costs = measured.into_iter().zip(before).zip(after);
    Ok(costs
        .map(|((name, (t0, n0)), (t1, n1))| Cost {
            name,
            runs: n1 - n0,
            time_ns: t1 - t0,
        })
        .collect())
}

/// Datagrams over the loopback device of a namespace.
fn packets(namespace: &str) {
    host::enter(namespace);
    let receiver = UdpSocket::bind("127.0.0.1:0").unwrap();
    let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
    sender.connect(receiver.local_addr().unwrap()).unwrap();
    let mut buffer = [0; 64];
    for _ in 0..100_000 {
        sender.send(&[7; 64]).unwrap();
        receiver.recv(&mut buffer).unwrap();
    }
}

/// Datagrams of [`datagrams`].
pub(crate) const DATAGRAMS: u32 = 200_000;

/// Datagrams to the metadata service's address in the namespace that owns it, without a pause.
pub(crate) fn datagrams(namespace: &str) {
    host::enter(namespace);
    let receiver = UdpSocket::bind("169.254.169.254:0").unwrap();
    let sender = UdpSocket::bind("169.254.169.254:0").unwrap();
    sender.connect(receiver.local_addr().unwrap()).unwrap();
    let mut buffer = [0; 256];
    for _ in 0..DATAGRAMS {
        // A request's usual size.
        sender.send(&[7; 200]).unwrap();
        receiver.recv(&mut buffer).unwrap();
    }
}

/// Two threads that wait for each other; on one CPU, where only the hook's own work is measured, or
/// wherever the scheduler puts them, where CPUs also pass the cgroup's cache lines to each other.
fn switches(one_cpu: bool) {
    if one_cpu {
        let mut first = CpuSet::new();
        first.set(0);
        // Threads that are started from here inherit it.
        sched_setaffinity(None, &first).unwrap();
    }
    let (mut ours, mut theirs) = UnixStream::pair().unwrap();
    let echo = std::thread::spawn(move || {
        let mut byte = [0];
        while theirs.read_exact(&mut byte).is_ok() {
            theirs.write_all(&byte).unwrap();
        }
    });
    let mut byte = [0];
    for _ in 0..20_000 {
        ours.write_all(&byte).unwrap();
        ours.read_exact(&mut byte).unwrap();
    }
    drop(ours);
    echo.join().unwrap();
}

/// Run time in nanoseconds and number of runs of a program.
fn statistics(program: BorrowedFd<'_>) -> (u64, u64) {
    let text = fs::read_to_string(format!("/proc/self/fdinfo/{}", program.as_raw_fd())).unwrap();
    let number = |name: &str| {
        text.lines()
            .find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
            .unwrap()
    };
    (number("run_time_ns:"), number("run_cnt:"))
}
