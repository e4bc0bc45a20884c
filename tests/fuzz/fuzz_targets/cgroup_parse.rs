//! See `plimsoll_tests::fuzz::cgroup_parse`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| plimsoll_tests::fuzz::cgroup_parse(bytes));
