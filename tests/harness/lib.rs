//! Shared parts of the test suites.

pub mod capinfos;
pub mod compare;
pub mod conversations;
pub mod copies;
pub mod disk;
pub mod engine;
pub mod fuzz;
pub mod golden;
pub mod kernel;
pub mod lossy;
pub mod meter;
pub mod nesting;
pub mod overload;
pub mod packet;
pub mod random;
pub mod reference;
pub mod replay;
pub mod rows;
pub mod sides;
pub mod stage;
pub mod tap;
pub mod traffic;
pub mod tunnel;
pub mod underlay;

use std::path::PathBuf;

/// The variable that turns every skipped test into a failed one; `cargo xtask ci` sets it.
pub const REQUIRE_ALL: &str = "AUSCULT_REQUIRE_ALL";

/// Says that a test is skipped and why, on a line of its own that starts with `SKIPPED: `.
///
/// # Panics
/// When the environment sets [`REQUIRE_ALL`]: where everything must run, a skipped test is a failed test.
pub fn skip(reason: &str) {
    assert!(std::env::var_os(REQUIRE_ALL).is_none(), "{REQUIRE_ALL} is set, but this test cannot run: {reason}");
    println!("SKIPPED: {reason}");
}

/// The folder of captures that `AUSCULT_CORPUS` names; without one, [`skip`]s the calling test and gives `None`.
///
/// # Panics
/// As [`skip`].
pub fn corpus() -> Option<PathBuf> {
    let folder = std::env::var_os("AUSCULT_CORPUS").map(PathBuf::from).filter(|folder| folder.is_dir());
    if folder.is_none() {
        skip("AUSCULT_CORPUS names no folder of captures");
    }
    folder
}

/// Whether this process may attach to interfaces and load BPF programs; if not, [`skip`]s the calling test.
///
/// # Panics
/// As [`skip`].
pub fn root() -> bool {
    // The kernel's own answer, without a call that needs `unsafe`: the owner of this process' folder is its effective user.
    let user = std::fs::metadata("/proc/self").map(|process| std::os::unix::fs::MetadataExt::uid(&process));
    let is_root = matches!(user, Ok(0));
    if !is_root {
        skip("needs root");
    }
    is_root
}
