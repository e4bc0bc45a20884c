//! See `plimsoll_tests::fuzz::tracepoint_format`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| plimsoll_tests::fuzz::tracepoint_format(bytes));
