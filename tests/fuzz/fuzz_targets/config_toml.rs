//! libFuzzer's octets into `harness::fuzz::config_toml`.
#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| harness::fuzz::config_toml(octets));
