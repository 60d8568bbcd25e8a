//! Where things are: the root of the work space, its build folder, the tools in it, the corpus beside it.

use std::env;
use std::path::{Path, PathBuf};

/// The root of the work space that cargo runs this for (not the one that it was compiled in: builds may be shared).
pub fn root() -> PathBuf {
    let package = env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    package.parent().map_or_else(|| PathBuf::from("."), Path::to_path_buf)
}

/// Cargo's build folder, `CARGO_TARGET_DIR` or `target`.
pub fn target() -> PathBuf {
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), |folder| root().join(folder))
}

/// Where `cargo xtask install` puts the tools it builds.
pub fn tools() -> PathBuf {
    target().join("tools")
}

/// Cargo's home: the registry's sources and what `cargo install` installed.
pub fn cargo_home() -> Option<PathBuf> {
    env::var_os("CARGO_HOME").map(PathBuf::from).or_else(|| env::home_dir().map(|home| home.join(".cargo")))
}

/// The first executable of that name: our own tools, then `PATH`, then cargo's home.
pub fn find_tool(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let own = std::iter::once(tools().join("bin"));
    let homes = cargo_home().map(|home| home.join("bin"));
    own.chain(env::split_paths(&path)).chain(homes).map(|folder| folder.join(name)).find(|file| is_executable(file))
}

fn is_executable(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    file.metadata().is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}

/// The captures to test on: `AUSCULT_CORPUS`, or the folder beside the work space if it is there.
pub fn corpus() -> Option<PathBuf> {
    match env::var_os("AUSCULT_CORPUS") {
        Some(folder) if !folder.is_empty() => Some(PathBuf::from(folder)),
        _ => root().join("../shared/captures").canonicalize().ok().filter(|folder| folder.is_dir()),
    }
}

/// Whether this process is root.
pub fn is_root() -> bool {
    // SAFETY: takes nothing, cannot fail and touches no memory of ours.
    unsafe { libc::geteuid() == 0 }
}

/// Whether continuous integration runs this, where nothing may be skipped.
pub fn is_ci() -> bool {
    env::var_os("CI").is_some_and(|value| value == "true" || value == "1")
}
