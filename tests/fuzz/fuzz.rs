//! libFuzzer's octets into the body of the target that `FUZZ_TARGET` names.
#![no_main]

use std::sync::OnceLock;

use harness::fuzz::{TARGETS, Target};

libfuzzer_sys::fuzz_target!(|octets: &[u8]| (target().body)(octets));

fn target() -> &'static Target {
    static TARGET: OnceLock<&Target> = OnceLock::new();
    TARGET.get_or_init(|| {
        // libFuzzer's crate ends the process at every panic, also at one that the product contains. Those that nobody contains end it too.
        drop(std::panic::take_hook());
        let name = std::env::var("FUZZ_TARGET").unwrap_or_default();
        let target = TARGETS.iter().find(|target| target.name == name);
        target.unwrap_or_else(|| {
            panic!("FUZZ_TARGET is {name:?}, which is none of {:?}", TARGETS.iter().map(|target| target.name).collect::<Vec<_>>())
        })
    })
}
