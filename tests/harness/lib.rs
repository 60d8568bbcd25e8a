//! Shared parts of the test suites.

pub mod tap;

/// Says that a test is skipped; fails it where everything must run (`AUSCULT_NO_SKIP` is set).
///
/// # Panics
/// When `AUSCULT_NO_SKIP` is set.
pub fn skip(reason: &str) {
    assert!(std::env::var_os("AUSCULT_NO_SKIP").is_none(), "must not be skipped here: {reason}");
    eprintln!("skipped: {reason}");
}

/// The process may make network namespaces.
pub fn is_root() -> bool {
    // SAFETY: no arguments, no memory, cannot fail.
    unsafe { libc::geteuid() == 0 }
}
