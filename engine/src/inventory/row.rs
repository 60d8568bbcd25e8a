//! Rows of the inventory's tables: keys that sort as they should, and values in postcard.
//!
//! Keys are big-endian octets, so that the order of the file is the order of devices and of time, and a backup copies rows
//! without knowing what is in them. Postcard names variants by number: whoever reorders `Attribute` or `Lifecycle`, or changes
//! a struct, makes a new [`SCHEMA`] (a test holds the octets of one device).

use redb::TableDefinition;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{
    device::{Change, DeviceId},
    flow::UnixNanos,
};

/// Version of the tables and of what is in them.
pub const SCHEMA: u32 = 1;

/// Rows by key.
pub(super) type Table = TableDefinition<'static, &'static [u8], &'static [u8]>;

/// Device number → `Device`.
pub(super) const DEVICES: Table = TableDefinition::new("devices");
/// Device number, evidence number → `Evidence`.
pub(super) const EVIDENCE: Table = TableDefinition::new("evidence");
/// Device number, time, sequence → `Change`.
pub(super) const CHANGES: Table = TableDefinition::new("changes");
/// Time, sequence, device number → nothing.
pub(super) const TIMELINE: Table = TableDefinition::new("timeline");
/// Device number → `Overrides`.
pub(super) const OVERRIDES: Table = TableDefinition::new("overrides");
/// Number of the device that was merged → `Merge`.
pub(super) const MERGES: Table = TableDefinition::new("merges");
/// Word → number.
pub(super) const META: Table = TableDefinition::new("meta");

/// All of them, in the order of a backup: the first says what the others are.
pub(super) const TABLES: [Table; 7] = [META, DEVICES, EVIDENCE, CHANGES, TIMELINE, OVERRIDES, MERGES];

/// Schema, `u32`.
pub(super) const META_SCHEMA: &[u8] = b"schema";
/// Time of the newest record, `i64`.
pub(super) const META_NEWEST: &[u8] = b"newest";
/// Number of the next change, `u64`.
pub(super) const META_SEQUENCE: &[u8] = b"sequence";

/// That one device was found to be a part of another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Merge {
    /// Which.
    pub from: DeviceId,
    /// Of which.
    pub into: DeviceId,
    /// When it was found.
    pub at: UnixNanos,
    /// Who: `engine`, or the user who said so.
    pub by: Box<str>,
    /// What it rests on: numbers of evidence.
    pub evidence: Vec<u64>,
}

/// Key of a device's only row.
pub(super) fn of_device(device_id: DeviceId) -> [u8; 8] {
    device_id.0.to_be_bytes()
}

/// Key of a piece of evidence.
pub(super) fn of_evidence(device_id: DeviceId, evidence_id: u64) -> [u8; 16] {
    join(device_id.0, evidence_id)
}

/// Key of a change.
pub(super) fn of_change(device_id: DeviceId, at: UnixNanos, sequence: u64) -> [u8; 24] {
    join3(device_id.0, sortable(at), sequence)
}

/// Key of a change in the order of time.
pub(super) fn of_moment(at: UnixNanos, sequence: u64, device_id: DeviceId) -> [u8; 24] {
    join3(sortable(at), sequence, device_id.0)
}

/// The change that a key in the order of time stands for.
pub(super) fn change_of_moment(key: &[u8]) -> Option<(DeviceId, [u8; 24])> {
    let (at, rest) = key.split_first_chunk::<8>()?;
    let (sequence, device) = rest.split_first_chunk::<8>()?;
    let device_id = DeviceId(u64::from_be_bytes(device.try_into().ok()?));
    Some((device_id, join3(device_id.0, u64::from_be_bytes(*at), u64::from_be_bytes(*sequence))))
}

/// The device that a key begins with.
pub(super) fn device_of(key: &[u8]) -> Option<DeviceId> {
    key.first_chunk::<8>().map(|octets| DeviceId(u64::from_be_bytes(*octets)))
}

/// Times before 1970 sort before those after it.
fn sortable(at: UnixNanos) -> u64 {
    at.cast_unsigned() ^ (1 << 63)
}

fn join(a: u64, b: u64) -> [u8; 16] {
    ((u128::from(a) << 64) | u128::from(b)).to_be_bytes()
}

fn join3(a: u64, b: u64, c: u64) -> [u8; 24] {
    let mut key = [0; 24];
    for (part, number) in key.chunks_exact_mut(8).zip([a, b, c]) {
        part.copy_from_slice(&number.to_be_bytes());
    }
    key
}

/// A value's octets.
pub(super) fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>, redb::Error> {
    postcard::to_stdvec(value).map_err(|why| redb::Error::Corrupted(format!("a row cannot be encoded: {why}")))
}

/// A value of all the octets.
pub(super) fn decode<T: DeserializeOwned>(octets: &[u8], what: &str) -> Result<T, redb::Error> {
    match postcard::take_from_bytes(octets) {
        Ok((value, [])) => Ok(value),
        Ok(_) => Err(redb::Error::Corrupted(format!("a row of {what} is too long"))),
        Err(why) => Err(redb::Error::Corrupted(format!("a row of {what} cannot be read ({why})"))),
    }
}

/// A change's row, if it has not been lost.
pub(super) fn decode_change(octets: &[u8]) -> Result<Change, redb::Error> {
    decode(octets, "changes")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{device::Device, inventory::sample};

    #[test]
    fn keys_sort_by_device_and_then_by_time() {
        let times = [i64::MIN, -1, 0, 1, i64::MAX];
        for pair in times.windows(2) {
            assert!(of_change(DeviceId(7), pair[0], 9) < of_change(DeviceId(7), pair[1], 0));
            assert!(of_moment(pair[0], 9, DeviceId(9)) < of_moment(pair[1], 0, DeviceId(0)));
        }
        assert!(of_change(DeviceId(7), i64::MAX, u64::MAX) < of_change(DeviceId(8), i64::MIN, 0));
        assert!(of_evidence(DeviceId(1), u64::MAX) < of_evidence(DeviceId(2), 0));
        let moment = of_moment(-5, 3, DeviceId(0xabcd));
        assert_eq!(change_of_moment(&moment), Some((DeviceId(0xabcd), of_change(DeviceId(0xabcd), -5, 3))));
        for cut in 0..moment.len() {
            assert_eq!(change_of_moment(&moment[..cut]), None);
        }
        assert_eq!(device_of(&moment[..7]), None);
    }

    /// If this fails, older inventories would be misread: raise `SCHEMA` and convert them.
    #[test]
    fn a_device_has_the_octets_of_this_schema() {
        let octets = encode(&sample::device(1)).unwrap();
        assert_eq!((SCHEMA, octets.len(), sample::fnv(&octets)), (1, OCTETS, HASH));
        assert_eq!(decode::<Device>(&octets, "devices").unwrap(), sample::device(1));
        for cut in 0..octets.len() {
            assert!(decode::<Device>(&octets[..cut], "devices").is_err(), "{cut}");
        }
        let longer = [&octets[..], &[0]].concat();
        assert!(decode::<Device>(&longer, "devices").unwrap_err().to_string().contains("too long"));
    }

    const OCTETS: usize = 390;
    const HASH: u64 = 887_908_313_319_131_055;
}
