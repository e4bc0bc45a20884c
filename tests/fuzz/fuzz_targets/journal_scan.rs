//! See `plimsoll_tests::fuzz::journal_scan`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| plimsoll_tests::fuzz::journal_scan(bytes));
