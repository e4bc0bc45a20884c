//! See `plimsoll_tests::fuzz::cgroup_path`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| plimsoll_tests::fuzz::cgroup_path(bytes));
