#![expect(clippy::disallowed_methods, reason = "shell: looks at /proc")]
//! Whether a process that once was still is: its id alone may have passed to another one.

use std::fs;

/// Start time of a process in clock ticks: field 22 of `/proc/<pid>/stat` (proc(5)). Together with
/// the pid it names a process for good.
pub fn started(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, after_name) = stat.rsplit_once(") ")?;
    after_name.split(' ').nth(19)?.parse().ok()
}

/// Whether the process of that id that started then runs.
pub fn is_alive(pid: u32, start: u64) -> bool {
    started(pid) == Some(start)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_alive_only_with_its_own_start_time() {
        let me = std::process::id();
        let start = started(me).unwrap();
        assert!(is_alive(me, start));
        assert!(!is_alive(me, start + 1));
    }
}
