//! See `plimsoll_tests::fuzz::quantity`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| plimsoll_tests::fuzz::quantity(bytes));
