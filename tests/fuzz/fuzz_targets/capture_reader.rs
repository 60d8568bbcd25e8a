//! libFuzzer's octets into `harness::fuzz::capture_reader`.
#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| harness::fuzz::capture_reader(octets));
