//! The most memory that the lake's writer holds, from its settings.

use super::{
    LakeSettings,
    column::{NAME_BYTES, NAME_TEXT_BYTES},
    coverage_table, encode, flow_table,
    writer::{COVERAGE_GROUP_ROWS, IDS_KEPT},
};

/// The most memory of a lake's writer, bytes: rows that wait for their row group, the row group in the making, ids of files.
pub fn memory_bound(settings: &LakeSettings) -> u64 {
    const ID_BYTES: usize = size_of::<String>() + 48;
    let values = flow_table::table().row_bytes();
    let waiting = settings.row_group_rows * (values + flow_table::CHOSEN_NAMES * NAME_BYTES);
    let encoded = encode::bound(settings, values + flow_table::CHOSEN_NAMES * NAME_TEXT_BYTES);
    // Of sidedness there is a row per VLAN and minute. Encoding takes turns.
    let coverage = COVERAGE_GROUP_ROWS * (coverage_table::table().row_bytes() + NAME_BYTES);
    (waiting + encoded + 2 * coverage + 2 * IDS_KEPT * ID_BYTES) as u64
}
