use std::fmt::Debug;

use proptest::prelude::*;

use super::*;

fn check<T: Debug>(found: Result<T, ParseError>, want: &str) {
    let found = match found {
        Ok(value) => format!("{value:?}"),
        Err(err) => format!("error: {err}"),
    };
    assert_eq!(found.replace("Some(", "").replace(')', ""), want);
}

const CPU_STAT_6_12: &[u8] = b"usage_usec 532156650\nuser_usec 394558150\nsystem_usec 137598499\nnice_usec 0\n\
    core_sched.force_idle_usec 0\nnr_periods 12\nnr_throttled 3\nthrottled_usec 45000\nnr_bursts 0\nburst_usec 0\n";

const MEMORY_STAT_6_1: &[u8] = b"anon 1040384\nfile 8192000\nkernel 2105344\nkernel_stack 65536\npagetables 131072\n\
    sec_pagetables 0\npercpu 360\nsock 0\nvmalloc 0\nshmem 4096\nzswap 0\nzswapped 0\nfile_mapped 2703360\nfile_dirty 0\n\
    file_writeback 0\nswapcached 0\nanon_thp 0\nfile_thp 0\nshmem_thp 0\ninactive_anon 1036288\nactive_anon 8192\n\
    inactive_file 5488640\nactive_file 2699264\nunevictable 0\nslab_reclaimable 1523712\nslab_unreclaimable 301208\n\
    slab 1824920\nworkingset_refault_anon 0\npgfault 2475\n";

#[test]
fn cpu() {
    check(
        cpu_stat(CPU_STAT_6_12),
        "CpuStat { usage_ns: 532156650000, periods: 12, throttled_periods: 3, throttled_usec: 45000 }",
    );
    check(
        cpu_stat(b"usage_usec 7\nuser_usec 7\nsystem_usec 0\n"),
        "CpuStat { usage_ns: 7000, periods: None, throttled_periods: None, throttled_usec: None }",
    );
    check(
        cpu_stat(b"usage_usec 7\nnr_periods -1\n"),
        "error: cpu.stat line 2: nr_periods is not a number below 2^64",
    );
    check(
        cpu_stat(b"usage_usec\n"),
        "CpuStat { usage_ns: None, periods: None, throttled_periods: None, throttled_usec: None }",
    );
    check(
        cpu_stat(b"usage_usec \n"),
        "error: cpu.stat line 1: usage_usec is not a number below 2^64",
    );
    check(
        cpu_stat(b"usage_usec 18446744073709551616\n"),
        "error: cpu.stat line 1: usage_usec is not a number below 2^64",
    );
    check(
        cpu_stat_v1(b"nr_periods 12\nnr_throttled 3\nthrottled_time 45000999\n"),
        "CpuStat { usage_ns: None, periods: 12, throttled_periods: 3, throttled_usec: 45000 }",
    );
    check(cpuacct_usage(b"145021398745\n"), "145021398745");
    check(
        cpuacct_usage(b"a\n"),
        "error: cpuacct.usage line 1: cpuacct.usage is not a number below 2^64",
    );
}

#[test]
fn memory() {
    check(
        memory_stat(MEMORY_STAT_6_1),
        "MemoryStat { anon_bytes: 1040384, file_bytes: 8192000, inactive_file_bytes: 5488640 }",
    );
    check(
        memory_stat(b"anon 4096\nfile x\n"),
        "error: memory.stat line 2: file is not a number below 2^64",
    );
    check(
        memory_stat(b""),
        "MemoryStat { anon_bytes: None, file_bytes: None, inactive_file_bytes: None }",
    );
    check(
        memory_stat_v1(b"cache 1\nrss 2\ninactive_file 3\nhierarchical_memory_limit 9\ntotal_cache 10\ntotal_rss 20\ntotal_inactive_file 30\n"),
        "MemoryStat { anon_bytes: 20, file_bytes: 10, inactive_file_bytes: 30 }",
    );
    check(
        memory_events(b"low 0\nhigh 0\nmax 14\noom 3\noom_kill 2\noom_group_kill 1\n"),
        "MemoryEvents { oom_kills: 2, limit_failures: 3 }",
    );
    check(
        memory_events(b"low 0\nhigh 0\nmax 14\noom 2\n"),
        "MemoryEvents { oom_kills: None, limit_failures: 2 }",
    );
    check(
        oom_control(b"oom_kill_disable 0\nunder_oom 0\noom_kill 5\n"),
        "MemoryEvents { oom_kills: 5, limit_failures: None }",
    );
    check(memory_max(b"max\n"), "None");
    check(memory_max(b"134217728\n"), "134217728");
    check(memory_limit_v1(b"9223372036854771712\n"), "None");
    check(memory_limit_v1(b"134217728\n"), "134217728");
    check(single("memory.current", b"4096\n"), "4096");
    check(single("memory.current", b""), "None");
    check(
        single("memory.current", b"4096 \n"),
        "error: memory.current line 1: memory.current is not a number below 2^64",
    );
    check(pids(b"17\n"), "17");
}

#[test]
fn stalls() {
    let both = b"some avg10=0.13 avg60=0.50 avg300=1.86 total=45442473\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=11\n";
    check(
        pressure("io.pressure", both),
        "PressureTotal { some_usec: 45442473, full_usec: 11 }",
    );
    check(
        pressure(
            "cpu.pressure",
            b"some avg10=0.00 avg60=0.00 avg300=0.00 total=3\n",
        ),
        "PressureTotal { some_usec: 3, full_usec: None }",
    );
    check(
        pressure(
            "memory.pressure",
            b"some avg10=0.00 total=3\nfull avg10=0.00 total=\n",
        ),
        "error: memory.pressure line 2: full total is not a number below 2^64",
    );
}

#[test]
fn io() {
    check(
        io_stat(b"259:0 rbytes=4096 wbytes=8192 rios=1 wios=2 dbytes=0 dios=0\n253:0 rbytes=4 wbytes=2 rios=1 wios=1 dbytes=0 dios=0\n"),
        "IoStat { read_bytes: 4100, written_bytes: 8194 }",
    );
    check(io_stat(b""), "IoStat { read_bytes: 0, written_bytes: 0 }");
    check(
        io_stat(b"259:0 \n8:0 rbytes=1 wbytes=?\n"),
        "error: io.stat line 2: wbytes is not a number below 2^64",
    );
    check(
        blkio(b"8:0 Read 100\n8:0 Write 50\n8:0 Sync 0\n8:0 Total 150\n8:16 Read 1\nTotal 151\n"),
        "IoStat { read_bytes: 101, written_bytes: 50 }",
    );
}

#[test]
fn processes() {
    let status = b"Name:\tnginx\nVmRSS:\t    9000 kB\nRssAnon:\t    1024 kB\nRssFile:\t    7000 kB\nRssShmem:\t       8 kB\nVmData:\t 1 kB\n";
    check(
        status_resident(status),
        "Resident { anon_bytes: 1048576, file_bytes: 7168000, shmem_bytes: 8192 }",
    );
    check(
        status_resident(b"Name:\tkthreadd\nThreads:\t1\n"),
        "Resident { anon_bytes: 0, file_bytes: 0, shmem_bytes: 0 }",
    );
    check(
        status_resident(b"RssAnon:\t kB\n"),
        "error: status line 1: RssAnon is not a number below 2^64",
    );
    let mut pids = Vec::new();
    check(cgroup_procs(b"12\n34\n", &mut pids), "true");
    check(cgroup_procs(b"0\n", &mut pids), "false");
    check(
        cgroup_procs(b"x\n", &mut pids),
        "error: cgroup.procs line 1: pid is not a number below 2^64",
    );
    assert_eq!(pids, [12, 34]);
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(noise in prop::collection::vec(any::<u8>(), 0..200), cut in 0..1000_usize, at in 0..1000_usize) {
        let mut mixed = MEMORY_STAT_6_1.to_vec();
        let at = at.min(mixed.len());
        mixed.splice(at..at, noise.iter().copied());
        mixed.truncate(cut);
        for bytes in [&noise, &mixed] {
            let results = [
                cpu_stat(bytes).err(), memory_stat(bytes).err(), memory_events(bytes).err(), memory_max(bytes).err(),
                io_stat(bytes).err(), pids(bytes).err(), pressure("cpu.pressure", bytes).err(), cpuacct_usage(bytes).err(),
                cpu_stat_v1(bytes).err(), memory_stat_v1(bytes).err(), oom_control(bytes).err(), memory_limit_v1(bytes).err(),
                blkio(bytes).err(), status_resident(bytes).err(), cgroup_procs(bytes, &mut Vec::new()).err(),
            ];
            for err in results.into_iter().flatten() {
                prop_assert!(err.line >= 1 && err.line <= bytes.len());
            }
        }
    }

    #[test]
    fn any_number_is_read_back(value in any::<u64>()) {
        prop_assert_eq!(single("x", format!("{value}\n").as_bytes()), Ok(Some(value)));
    }
}
