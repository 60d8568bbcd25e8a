//! libFuzzer's octets into `harness::fuzz::delta_biflow`.
#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| harness::fuzz::delta_biflow(octets));
