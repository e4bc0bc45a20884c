//! What the `/proc` files of a process say, from bytes. proc_pid_stat(5), cgroups(7).

/// A task name as the kernel pads it; `None` where it is all zero.
pub(super) fn comm(padded: &[u8]) -> Option<String> {
    let name = padded.split(|byte| *byte == 0).next().unwrap_or_default();
    (!name.is_empty()).then(|| String::from_utf8_lossy(name).into_owned())
}

/// The fields of `/proc/<pid>/stat` that tell processes apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stat<'a> {
    pub(super) comm: &'a [u8],
    pub(super) is_zombie: bool,
    pub(super) is_kernel_thread: bool,
    /// Start after boot, clock ticks of 10 ms (USER_HZ is 100 on every architecture of ours).
    pub(super) start_ticks: u64,
}

/// `PF_KTHREAD` of include/linux/sched.h.
const KERNEL_THREAD: u64 = 0x0020_0000;

impl<'a> Stat<'a> {
    /// The name may hold anything, parentheses and blanks included: it ends at the last one.
    pub(super) fn parse(bytes: &'a [u8]) -> Option<Self> {
        let open = bytes.iter().position(|byte| *byte == b'(')?;
        let close = bytes.iter().rposition(|byte| *byte == b')')?;
        let comm = bytes.get(open + 1..close)?;
        let mut fields = bytes
            .get(close + 1..)?
            .split(u8::is_ascii_whitespace)
            .filter(|field| !field.is_empty());
        let number = |field: &[u8]| std::str::from_utf8(field).ok()?.parse::<u64>().ok();
        // Fields are numbered from 1 in the manual: state 3, flags 9, starttime 22.
        let state = fields.next()?;
        let flags = number(fields.nth(5)?)?;
        let start_ticks = number(fields.nth(12)?)?;
        Some(Self {
            comm,
            is_zombie: matches!(state, b"Z" | b"X"),
            is_kernel_thread: flags & KERNEL_THREAD != 0,
            start_ticks,
        })
    }
}

/// The v2 path of `/proc/<pid>/cgroup`, as far as it says anything: a task that is gone from its
/// cgroup shows the root, and a line without an end was cut.
pub(super) fn cgroup_path(text: &str) -> Option<&str> {
    let mut lines = text.split_inclusive('\n');
    let line = lines.find_map(|line| line.strip_prefix("0::"))?;
    let path = line.strip_suffix('\n')?;
    let path = path.strip_suffix(" (deleted)").unwrap_or(path);
    (path != "/").then_some(path)
}

/// The process id, of `/proc/<tid>/status`.
pub(super) fn tgid(status: &[u8]) -> Option<u32> {
    let mut lines = status.split(|byte| *byte == b'\n');
    let value = lines.find_map(|line| line.strip_prefix(b"Tgid:\t"))?;
    std::str::from_utf8(value).ok()?.parse().ok()
}

/// Splits a path that leads out of our own cgroup namespace (`/../../kubepods/…`): the part below
/// the common ancestor, which is empty where the path is the ancestor's, and the steps up to it.
pub(super) fn below_detour(path: &str) -> (&str, usize) {
    let (mut rest, mut steps) = (path, 0);
    while let Some(deeper) = rest.strip_prefix("/..")
        && (deeper.is_empty() || deeper.starts_with('/'))
    {
        (rest, steps) = (deeper, steps + 1);
    }
    (rest, steps)
}

/// A path as the host has it, of a path as it is seen from a cgroup namespace whose root is `own`.
/// `None` if it leads above the host's root: `own` is not the namespace's root then.
pub(super) fn absolute(own: &str, seen: &str) -> Option<String> {
    let (below, steps) = below_detour(seen);
    let mut common = own.trim_end_matches('/');
    for _ in 0..steps {
        (common, _) = common.rsplit_once('/')?;
    }
    Some(format!("{common}{below}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stat_survives_any_name() {
        let line = b"42 (a) R (b) S 1 42 42 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 555 0 0";
        let stat = Stat::parse(line).unwrap();
        assert_eq!(stat.comm, b"a) R (b");
        assert_eq!(
            (stat.is_zombie, stat.is_kernel_thread, stat.start_ticks),
            (false, false, 555)
        );
        let thread = b"2 (kthreadd) S 0 0 0 0 -1 2129984 0 0 0 0 0 0 0 0 20 0 1 0 1 0 0";
        assert!(Stat::parse(thread).unwrap().is_kernel_thread);
        for end in 0..line.len() - 8 {
            assert_eq!(Stat::parse(&line[..end]), None, "{end}");
        }
    }

    #[test]
    fn paths_of_cgroups() {
        assert_eq!(
            cgroup_path("12:memory:/x\n0::/a/b (deleted)\n"),
            Some("/a/b")
        );
        assert_eq!(cgroup_path("0::/\n"), None);
        assert_eq!(cgroup_path("3:cpu:/a\n"), None);
        assert_eq!(cgroup_path("3:cpu:/a\n0::/a/b"), None, "cut");
        assert_eq!(below_detour("/../../kubepods/a"), ("/kubepods/a", 2));
        assert_eq!(below_detour("/kubepods/a"), ("/kubepods/a", 0));
        assert_eq!(below_detour("/../.."), ("", 2));
        assert_eq!(below_detour("/..a/b"), ("/..a/b", 0));
        assert_eq!(absolute("/k/p/c", "/../../q/d").as_deref(), Some("/k/q/d"));
        assert_eq!(absolute("/k/p/c", "/../../..").as_deref(), Some(""));
        assert_eq!(absolute("/k/p/c", "/x").as_deref(), Some("/k/p/c/x"));
        assert_eq!(absolute("/", "/k/p").as_deref(), Some("/k/p"));
        assert_eq!(absolute("/", "/../k/p"), None);
        assert_eq!(tgid(b"Name:\ta\nTgid:\t42\nPid:\t43\n"), Some(42));
        assert_eq!(tgid(b"Tgid:\tx\n"), None);
    }

    #[test]
    fn names() {
        assert_eq!(comm(b"curl\0\0\0").as_deref(), Some("curl"));
        assert_eq!(comm(&[0; 16]), None);
        assert_eq!(comm(b"\xff\0").as_deref(), Some("\u{fffd}"));
    }
}
