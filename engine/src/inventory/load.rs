//! What is kept, read back: all that an engine needs at its start, one device, or changes of a span of time.
//!
//! Devices come in blocks of [`BLOCK`], so that reading needs little memory however many there are.

use std::ops::ControlFlow;

use redb::{ReadTransaction, ReadableTable, ReadableTableMetadata};

use super::{
    Inventory, InventoryError, Merge, Overrides,
    row::{
        CHANGES, DEVICES, EVIDENCE, MERGES, META, META_NEWEST, OVERRIDES, TIMELINE, change_of_moment, decode, decode_change,
        device_of, of_change, of_device, of_evidence, of_moment,
    },
    store::guarded,
    write::number,
};
use crate::{
    device::{Change, Device, DeviceId, Evidence},
    flow::UnixNanos,
};

/// Devices that are read at once.
const BLOCK: usize = 256;

/// All that is kept of one device, its changes apart.
#[derive(Clone, Debug, PartialEq)]
pub struct Stored {
    /// As it was when it was written.
    pub device: Device,
    /// By number.
    pub evidence: Vec<Evidence>,
    /// What was set by hand.
    pub overrides: Overrides,
}

/// What was read at the start.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Loaded {
    /// Devices that were handed out.
    pub devices: u64,
    /// Their evidence.
    pub evidence: u64,
    /// Evidence that this program does not understand (a field it does not know); it stays in the file.
    pub evidence_not_understood: u64,
    /// All merges.
    pub merges: Vec<Merge>,
    /// Time of the newest record.
    pub newest: Option<UnixNanos>,
}

impl Inventory {
    /// Everything, device by device in the order of their numbers.
    ///
    /// # Errors
    /// The file is damaged or the disk refuses; what was handed out until then is right.
    pub fn load(&self, mut each: impl FnMut(Stored)) -> Result<Loaded, InventoryError> {
        let snapshot = self.snapshot()?;
        let mut loaded = guarded(&self.path, || {
            let mut merges = Vec::new();
            for row in snapshot.open_table(MERGES)?.iter()? {
                merges.push(decode(row?.1.value(), "merges")?);
            }
            let newest = number(&snapshot.open_table(META)?, META_NEWEST)?.map(i64::from_le_bytes);
            Ok(Loaded { merges, newest, ..Loaded::default() })
        })?;
        let mut from = Some(DeviceId(0));
        while let Some(first) = from {
            let (block, next) = guarded(&self.path, || read_block(&snapshot, first, &mut loaded))?;
            block.into_iter().for_each(&mut each);
            from = next;
        }
        Ok(loaded)
    }

    /// The devices alone, without evidence.
    ///
    /// # Errors
    /// As [`Inventory::load`].
    pub fn devices(&self) -> Result<Vec<Device>, InventoryError> {
        let snapshot = self.snapshot()?;
        guarded(&self.path, || {
            let table = snapshot.open_table(DEVICES)?;
            table.iter()?.map(|row| decode(row?.1.value(), "devices")).collect()
        })
    }

    /// One device, if there is such.
    ///
    /// # Errors
    /// As [`Inventory::load`].
    pub fn device(&self, device_id: DeviceId) -> Result<Option<Stored>, InventoryError> {
        let snapshot = self.snapshot()?;
        guarded(&self.path, || {
            let (block, _) = read_span(&snapshot, device_id, device_id, &mut Loaded::default())?;
            Ok(block.into_iter().next())
        })
    }

    /// How many devices there are, merged ones among them.
    ///
    /// # Errors
    /// As [`Inventory::load`].
    pub fn count(&self) -> Result<u64, InventoryError> {
        let snapshot = self.snapshot()?;
        guarded(&self.path, || Ok(snapshot.open_table(DEVICES)?.len()?))
    }

    /// The newest `most` changes of one device, oldest first.
    ///
    /// # Errors
    /// As [`Inventory::load`].
    pub fn changes_of(&self, device_id: DeviceId, most: usize) -> Result<Vec<Change>, InventoryError> {
        let snapshot = self.snapshot()?;
        guarded(&self.path, || {
            let table = snapshot.open_table(CHANGES)?;
            let (first, last) = (of_change(device_id, i64::MIN, 0), of_change(device_id, i64::MAX, u64::MAX));
            let rows = table.range(&first[..]..=&last[..])?.rev().take(most);
            let mut changes = rows.map(|row| decode_change(row?.1.value())).collect::<Result<Vec<_>, _>>()?;
            changes.reverse();
            Ok(changes)
        })
    }

    /// Changes from `first` to `last`, both included, of all devices in the order of time, until `each` breaks off.
    ///
    /// # Errors
    /// As [`Inventory::load`].
    pub fn changes(
        &self,
        first: UnixNanos,
        last: UnixNanos,
        mut each: impl FnMut(Change) -> ControlFlow<()>,
    ) -> Result<(), InventoryError> {
        let snapshot = self.snapshot()?;
        let end = of_moment(last, u64::MAX, DeviceId(u64::MAX));
        let mut from = of_moment(first, 0, DeviceId(0)).to_vec();
        loop {
            let block = guarded(&self.path, || {
                let (timeline, rows) = (snapshot.open_table(TIMELINE)?, snapshot.open_table(CHANGES)?);
                let mut block = Vec::new();
                if from.as_slice() <= &end[..] {
                    for moment in timeline.range(&from[..]..=&end[..])?.take(BLOCK) {
                        let key = moment?.0.value().to_vec();
                        block.push((change_at(&rows, &key)?, key));
                    }
                }
                Ok(block)
            })?;
            let Some((_, last_key)) = block.last() else { return Ok(()) };
            from = last_key.clone();
            // The next key is this one and an octet more.
            from.push(0);
            for (change, _) in block {
                if each(change).is_break() {
                    return Ok(());
                }
            }
        }
    }
}

/// The change that a key of the timeline stands for.
pub(super) fn change_at(rows: &impl ReadableTable<&'static [u8], &'static [u8]>, moment: &[u8]) -> Result<Change, redb::Error> {
    let lost = || redb::Error::Corrupted("the timeline names a change that is not there".into());
    let (_, key) = change_of_moment(moment).ok_or_else(lost)?;
    let row = rows.get(&key[..])?.ok_or_else(lost)?;
    decode_change(row.value())
}

/// A block of devices and the number that the next one begins with.
fn read_block(
    snapshot: &ReadTransaction,
    first: DeviceId,
    loaded: &mut Loaded,
) -> Result<(Vec<Stored>, Option<DeviceId>), redb::Error> {
    let (block, full) = read_span(snapshot, first, DeviceId(u64::MAX), loaded)?;
    let next = block.last().and_then(|last| last.device.device_id.0.checked_add(1)).map(DeviceId);
    Ok((block, next.filter(|_| full)))
}

fn read_span(
    snapshot: &ReadTransaction,
    first: DeviceId,
    last: DeviceId,
    loaded: &mut Loaded,
) -> Result<(Vec<Stored>, bool), redb::Error> {
    let (devices, evidence) = (snapshot.open_table(DEVICES)?, snapshot.open_table(EVIDENCE)?);
    let overrides = snapshot.open_table(OVERRIDES)?;
    let mut block = Vec::new();
    let mut pieces = evidence.range(&of_evidence(first, 0)[..]..=&of_evidence(last, u64::MAX)[..])?.peekable();
    for row in devices.range(&of_device(first)[..]..=&of_device(last)[..])?.take(BLOCK) {
        let (key, value) = row?;
        let device: Device = decode(value.value(), "devices")?;
        if device_of(key.value()) != Some(device.device_id) {
            return Err(redb::Error::Corrupted("a device is kept under the number of another".into()));
        }
        let set = match overrides.get(key.value())? {
            Some(row) => decode(row.value(), "overrides")?,
            None => Overrides::default(),
        };
        let mut stored = Stored { device, evidence: Vec::new(), overrides: set };
        // Evidence of a device that is not there is passed by.
        let is_due = |key: &[u8]| device_of(key).is_none_or(|of| of <= stored.device.device_id);
        while let Some(piece) = pieces.next_if(|piece| piece.as_ref().map_or(true, |(key, _)| is_due(key.value()))) {
            let (key, value) = piece?;
            if device_of(key.value()) != Some(stored.device.device_id) {
                continue;
            }
            match decode::<Evidence>(value.value(), "evidence") {
                Ok(piece) => stored.evidence.push(piece),
                Err(_) => loaded.evidence_not_understood += 1,
            }
        }
        loaded.devices += 1;
        loaded.evidence += stored.evidence.len() as u64;
        block.push(stored);
    }
    let full = block.len() == BLOCK;
    Ok((block, full))
}

#[cfg(test)]
#[path = "store_tests.rs"]
mod tests;
