//! libFuzzer's octets into `harness::fuzz::frame_meter`.
#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| harness::fuzz::frame_meter(octets));
