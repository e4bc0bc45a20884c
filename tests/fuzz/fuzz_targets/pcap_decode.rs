//! See `plimsoll_tests::fuzz::pcap_decode`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| plimsoll_tests::fuzz::pcap_decode(bytes));
