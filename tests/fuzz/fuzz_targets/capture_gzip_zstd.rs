//! libFuzzer's octets into `harness::fuzz::capture_gzip_zstd`.
#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| harness::fuzz::capture_gzip_zstd(octets));
