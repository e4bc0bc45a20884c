//! See `plimsoll_tests::fuzz::inventory_parse`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| plimsoll_tests::fuzz::inventory_parse(bytes));
