#![expect(
    clippy::disallowed_methods,
    reason = "shell: reads the agent's own use"
)]
//! What the agent itself costs its node. The kernel programs run on the tasks that trigger them and
//! are not in these figures; `bpf_stats` tells theirs.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use rustix::time::ClockId;

/// Cost of this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SelfUse {
    /// CPU time of all threads since the start, nanoseconds.
    pub cpu_ns: u64,
    /// Resident memory, bytes; `None` if procfs did not say.
    pub rss_bytes: Option<u64>,
}

/// Keeps `/proc/self/statm` open.
#[derive(Debug)]
pub struct SelfMeter {
    statm: File,
}

impl SelfMeter {
    /// Opens `<proc>/self/statm`.
    pub fn open(proc: &Path) -> io::Result<Self> {
        Ok(Self {
            statm: File::open(proc.join("self/statm"))?,
        })
    }

    /// Reads both.
    pub fn read(&self) -> SelfUse {
        let cpu = rustix::time::clock_gettime(ClockId::ProcessCPUTime);
        let mut buffer = [0_u8; 128];
        let text = self
            .statm
            .read_at(&mut buffer, 0)
            .ok()
            .and_then(|len| buffer.get(..len));
        SelfUse {
            cpu_ns: super::clock::nanoseconds(cpu),
            rss_bytes: text
                .and_then(|text| resident_bytes(text, rustix::param::page_size() as u64)),
        }
    }
}

/// The second word of `statm`, in pages.
fn resident_bytes(statm: &[u8], page_bytes: u64) -> Option<u64> {
    std::str::from_utf8(statm)
        .ok()?
        .split_ascii_whitespace()
        .nth(1)?
        .parse::<u64>()
        .ok()?
        .checked_mul(page_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_this_process() {
        let meter = SelfMeter::open(Path::new("/proc")).unwrap();
        let before = meter.read();
        let work: u64 = (0..2_000_000_u64).fold(1, |a, b| std::hint::black_box(a ^ b));
        let after = meter.read();
        assert!(after.cpu_ns > before.cpu_ns, "{work}");
        assert!(after.rss_bytes.unwrap() > 100_000);
    }

    #[test]
    fn statm() {
        assert_eq!(
            resident_bytes(b"2000 512 300 1 0 400 0\n", 4096),
            Some(2_097_152)
        );
        assert_eq!(resident_bytes(b"2000\n", 4096), None);
        assert_eq!(resident_bytes(b"2000 x", 4096), None);
    }
}
