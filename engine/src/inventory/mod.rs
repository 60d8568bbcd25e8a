//! Inventory: devices, evidence, changes and what was set by hand, kept in `DIR/inventory.redb` so that no crash loses them.
//!
//! Laws: one [`Batch`] is one durable transaction, whole or not at all. A file that is damaged, foreign or newer than this
//! program is named in an error and left as it is. Every change says what was before, so that [`Inventory::as_of`] gives back
//! any earlier day. What is set by hand is kept apart from what is observed, and can be taken back. Time is an argument: no
//! clock is read here.
//!
//! It does not decide what a device is (`identify` does) and keeps no flows (the lake does). Nothing of a patient can be in it:
//! evidence holds fields of the allow-list alone, and what is set by hand is short and printable.

mod backup;
mod by_hand;
mod csv;
mod history;
mod import;
mod load;
mod row;
mod store;
mod write;

#[cfg(test)]
#[path = "crash_tests.rs"]
mod crash_tests;
#[cfg(test)]
#[path = "damage_tests.rs"]
mod damage_tests;
#[cfg(test)]
#[path = "measure_tests.rs"]
mod measure_tests;
#[cfg(test)]
#[path = "sample.rs"]
mod sample;

use std::{
    fmt,
    path::{Path, PathBuf},
};

use crate::device::{DeviceId, Lifecycle};

pub use self::{
    backup::restore,
    by_hand::{ByHand, HandSet, Overrides, Setting, TAGS_MAX, TEXT_OCTETS_MAX, may_become},
    history::{created, diff, undo},
    import::{Applied, Plan, Refused, Report, plan},
    load::{Loaded, Stored},
    row::{Merge, SCHEMA},
    store::Inventory,
    write::Batch,
};

/// What can go wrong with the inventory.
#[derive(Debug, thiserror::Error)]
pub enum InventoryError {
    /// The file system refused.
    #[error("cannot {action} {}: {source}; check that the directory exists, is writable and has free space", .path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// Where.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// There is none.
    #[error("there is no inventory at {}; run the engine on this directory first, or name another with --data", .0.display())]
    Absent(PathBuf),
    /// Another process writes it.
    #[error("inventory {} is in use by another process; stop that one or choose another directory with --data", .0.display())]
    InUse(PathBuf),
    /// Who wrote it was killed, and the file is not yet put in order.
    #[error("inventory {} was left by an engine that was killed; start the engine, which puts it in order", .0.display())]
    Interrupted(PathBuf),
    /// It was opened for reading.
    #[error("inventory {} was opened for reading only; open it for writing", .0.display())]
    ReadOnly(PathBuf),
    /// A newer program wrote it.
    #[error(
        "{} is of schema {found}, and this program knows up to {}; use the program that wrote it, or a newer one",
        .path.display(), SCHEMA
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its schema.
        found: u32,
    },
    /// It is no inventory.
    #[error("{} is no inventory: {why}; move it out of the data directory", .path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: Box<str>,
    },
    /// Its content is not what was written.
    #[error("{} is damaged: {why}; move it away and restore a backup, or begin a new inventory without it", .path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: Box<str>,
    },
    /// A transaction failed; what was there before is untouched.
    #[error("cannot write {}: {why}; free space or check the disk", .path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why not.
        why: Box<str>,
    },
    /// No device has that number.
    #[error("no device is called {0}; list the devices for their numbers")]
    NoDevice(DeviceId),
    /// It was merged: what is said of it belongs to another.
    #[error("device {device_id} was merged into {into}; name that one")]
    Merged {
        /// The device.
        device_id: DeviceId,
        /// What it is a part of.
        into: DeviceId,
    },
    /// A device cannot go from this state to that.
    #[error("device {device_id} is {} and cannot become {}; choose {}", .from.name(), .to.name(), Allowed(*.from))]
    Lifecycle {
        /// The device.
        device_id: DeviceId,
        /// Where it is.
        from: Lifecycle,
        /// Where it cannot go.
        to: Lifecycle,
    },
    /// A value by hand that cannot be kept.
    #[error("{what} `{value}` {why}")]
    Value {
        /// Of what.
        what: &'static str,
        /// The value, shortened.
        value: Box<str>,
        /// What is wrong, and what would be right.
        why: &'static str,
    },
    /// A file is where one should be written.
    #[error("{} exists and is never overwritten; name another file or move it away", .0.display())]
    Exists(PathBuf),
    /// A backup cannot be restored over devices.
    #[error(
        "{} holds {devices} devices and is never overwritten; restore into another directory or move it away",
        .path.display()
    )]
    NotEmpty {
        /// The inventory.
        path: PathBuf,
        /// Devices in it.
        devices: u64,
    },
    /// A backup is not what was written.
    #[error("backup {} cannot be restored: {why}; take another backup", .path.display())]
    Backup {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: Box<str>,
    },
}

impl InventoryError {
    /// For `map_err`: an I/O error with what and where.
    fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { action, path, source }
    }
}

/// The states that may follow, as a list in words.
struct Allowed(Lifecycle);

impl fmt::Display for Allowed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = Lifecycle::ALL.into_iter().filter(|next| self.0.may_become(*next)).map(Lifecycle::name).collect();
        f.write_str(&names.join(" or "))
    }
}

/// Text that a file has a part in, in one short line.
fn one_line(text: impl fmt::Display) -> Box<str> {
    text.to_string().chars().map(|char| if char.is_control() { ' ' } else { char }).take(200).collect()
}
