//! A batch of news becomes one durable transaction.

use redb::{ReadableTable, Table, WriteTransaction};

use super::{
    Inventory, InventoryError, Merge, Overrides,
    row::{
        CHANGES, DEVICES, EVIDENCE, MERGES, META, META_NEWEST, META_SEQUENCE, OVERRIDES, TIMELINE, encode, of_change, of_device,
        of_evidence, of_moment,
    },
    store::{Base, guarded},
};
use crate::{
    device::{Change, Device, DeviceId, Evidence},
    flow::UnixNanos,
};

/// What is new since the last batch. Rows replace those of the same key.
#[derive(Clone, Copy, Debug, Default)]
pub struct Batch<'a> {
    /// Devices as they are now.
    pub devices: &'a [Device],
    /// Evidence as it is now, and whose it is.
    pub evidence: &'a [(DeviceId, Evidence)],
    /// Evidence that is no longer kept.
    pub removed_evidence: &'a [(DeviceId, u64)],
    /// Changes, in the order in which they came about.
    pub changes: &'a [Change],
    /// What is set by hand now; where that is nothing, the row goes.
    pub overrides: &'a [(DeviceId, Overrides)],
    /// Devices that were found to be parts of others.
    pub merges: &'a [Merge],
    /// Devices whose merge is taken back.
    pub splits: &'a [DeviceId],
    /// Time of the newest record, if that is known; it never goes back.
    pub newest: Option<UnixNanos>,
}

type Rows<'t> = Table<'t, &'static [u8], &'static [u8]>;

impl Inventory {
    /// Writes all of it durably, or nothing.
    ///
    /// After an error the file is opened again by the next write, so that a disk that was full is not the end.
    ///
    /// # Errors
    /// The inventory was opened for reading, or the disk refuses; the batch can be written again.
    pub fn write(&mut self, batch: &Batch<'_>) -> Result<(), InventoryError> {
        self.transact(|transaction| put(transaction, batch))
    }

    /// One durable transaction of whatever `body` does.
    pub(super) fn transact<T>(
        &mut self,
        body: impl FnOnce(&WriteTransaction) -> Result<T, redb::Error>,
    ) -> Result<T, InventoryError> {
        let path = self.path.clone();
        let base = self.writable()?;
        let done = guarded(&path, || {
            let transaction = base.begin_write()?;
            let done = body(&transaction)?;
            transaction.commit()?;
            Ok(done)
        });
        if done.is_err() {
            self.base = Base::Closed;
        }
        done.map_err(|error| match error {
            InventoryError::Io { source, .. } => InventoryError::Write { path, why: super::one_line(source) },
            other => other,
        })
    }
}

fn put(transaction: &WriteTransaction, batch: &Batch<'_>) -> Result<(), redb::Error> {
    let mut devices = transaction.open_table(DEVICES)?;
    for device in batch.devices {
        devices.insert(&of_device(device.device_id)[..], &encode(device)?[..])?;
    }
    let mut evidence = transaction.open_table(EVIDENCE)?;
    for (device_id, of) in batch.removed_evidence {
        evidence.remove(&of_evidence(*device_id, *of)[..])?;
    }
    for (device_id, new) in batch.evidence {
        evidence.insert(&of_evidence(*device_id, new.evidence_id)[..], &encode(new)?[..])?;
    }
    let mut overrides = transaction.open_table(OVERRIDES)?;
    for (device_id, set) in batch.overrides {
        let key = of_device(*device_id);
        if set.is_empty() {
            overrides.remove(&key[..])?
        } else {
            overrides.insert(&key[..], &encode(set)?[..])?
        };
    }
    let mut merges = transaction.open_table(MERGES)?;
    for merge in batch.merges {
        merges.insert(&of_device(merge.from)[..], &encode(merge)?[..])?;
    }
    for split in batch.splits {
        merges.remove(&of_device(*split)[..])?;
    }
    let mut meta = transaction.open_table(META)?;
    put_changes(transaction, &mut meta, batch.changes)?;
    if let Some(newest) = batch.newest.max(batch.changes.iter().map(|change| change.at).max()) {
        let kept = number(&meta, META_NEWEST)?.map_or(newest, |kept| newest.max(i64::from_le_bytes(kept)));
        meta.insert(META_NEWEST, &kept.to_le_bytes()[..])?;
    }
    Ok(())
}

/// Changes are numbered through, so that those of one moment keep their order.
fn put_changes(transaction: &WriteTransaction, meta: &mut Rows<'_>, changes: &[Change]) -> Result<(), redb::Error> {
    if changes.is_empty() {
        return Ok(());
    }
    let mut sequence = number(meta, META_SEQUENCE)?.map_or(0, u64::from_le_bytes);
    let (mut rows, mut timeline) = (transaction.open_table(CHANGES)?, transaction.open_table(TIMELINE)?);
    for change in changes {
        rows.insert(&of_change(change.device_id, change.at, sequence)[..], &encode(change)?[..])?;
        timeline.insert(&of_moment(change.at, sequence, change.device_id)[..], &[][..])?;
        sequence = sequence.wrapping_add(1);
    }
    meta.insert(META_SEQUENCE, &sequence.to_le_bytes()[..])?;
    Ok(())
}

/// Eight octets that are kept under a word.
pub(super) fn number(
    meta: &impl ReadableTable<&'static [u8], &'static [u8]>,
    word: &[u8],
) -> Result<Option<[u8; 8]>, redb::Error> {
    let Some(row) = meta.get(word)? else { return Ok(None) };
    row.value().try_into().map(Some).map_err(|_| redb::Error::Corrupted("a number of the table meta has another length".into()))
}
