//! The table `coverage`: one row per minute and observation point.

use std::sync::LazyLock;

use auscult_ebpf::{
    discard::{Discard, Lost},
    sample::Class,
};

use super::{
    column::{Name, Time},
    schema::{self, Group, Table},
};
use crate::{
    coverage::CoverageRow,
    ledger::{Count, UserLost},
};

/// The table.
pub fn table() -> &'static Table<CoverageRow> {
    static TABLE: LazyLock<Table<CoverageRow>> = LazyLock::new(|| {
        let mut columns = Columns::default();
        minute(&mut columns);
        ledger(&mut columns);
        meter(&mut columns);
        let row = "What one observation point saw, kept and lost in one minute. All values but `resident_` are increments within \
                   the minute; several rows of one minute and observation point add up.";
        columns.table("coverage", row, ["observation_point", "minute"], "minute")
    });
    &TABLE
}

type Columns = schema::Columns<CoverageRow>;

fn minute(out: &mut Columns) {
    out.add(Group::ALWAYS, "minute", "ns", "Start of the minute.", |row: &CoverageRow| Time(row.minute));
    let point = "Name of the observation point (interface).";
    out.add(Group::ALWAYS, "observation_point", "", point, |row: &CoverageRow| Name::Shared(row.observation_point.clone()));
}

fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// Two columns: packets and octets.
fn pair(
    out: &mut Columns,
    what: &str,
    definitions: [&'static str; 2],
    get: impl Fn(&CoverageRow) -> Count + Copy + Send + Sync + 'static,
) {
    let [packets, octets] = definitions;
    out.add(Group::ALWAYS, format!("{what}_packets"), "packets", packets, move |row: &CoverageRow| signed(get(row).packets));
    out.add(Group::ALWAYS, format!("{what}_octets"), "octets", octets, move |row: &CoverageRow| signed(get(row).octets));
}

fn ledger(out: &mut Columns) {
    pair(out, "seen", ["Frames that reached the meter.", "Their octets on the wire."], |row| row.ledger.seen());
    let metered = ["Packets recounted from the deltas that reached userspace.", "Their octets on the wire."];
    pair(out, "metered", metered, |row| row.ledger.metered);
    pair(out, "duplicate", ["Frames left out as duplicates of a mirrored frame.", "Their octets on the wire."], |row| Count {
        packets: row.ledger.counters.duplicate_packets,
        octets: row.ledger.counters.duplicate_octets,
    });
    for reason in Discard::ALL {
        let what = format!("discarded_{}", reason.name());
        pair(out, &what, ["Frames refused for this reason.", "Their octets on the wire."], move |row| {
            row.ledger.discarded_by(reason)
        });
    }
    for place in Lost::ALL {
        let what = format!("lost_{}", place.name());
        pair(out, &what, ["Packets lost in the kernel at this place.", "Their octets on the wire."], move |row| {
            row.ledger.lost_by(place)
        });
    }
    for place in UserLost::ALL {
        let what = format!("lost_{}", place.name());
        let texts = ["Packets lost in userspace at this place; they are part of `metered_packets`.", "Their octets on the wire."];
        pair(out, &what, texts, move |row| row.ledger.user_lost[place as usize]);
    }
    let resident =
        ["Packets still in the meter's cache at the end of the minute (a state).", "Their octets on the wire (a state)."];
    pair(out, "resident", resident, |row| row.ledger.resident);
    let law =
        "seen − (metered + duplicate + discarded + lost in the kernel + growth of resident): 0, or packets vanished uncounted.";
    out.add(Group::ALWAYS, "imbalance_packets", "packets", law, |row: &CoverageRow| row.imbalance.0);
    out.add(Group::ALWAYS, "imbalance_octets", "octets", "The same in octets.", |row: &CoverageRow| row.imbalance.1);
}

fn meter(out: &mut Columns) {
    let mut add = |name: String, unit: &'static str, definition: &'static str, get: fn(&CoverageRow) -> u64| {
        out.add(Group::ALWAYS, name, unit, definition, move |row: &CoverageRow| signed(get(row)));
    };
    add("deltas".into(), "records", "Deltas that the meter handed over.", |row| row.ledger.counters.deltas);
    add("super_frames".into(), "packets", "Frames longer than an MTU can make them (merged by an offload).", |row| {
        row.ledger.counters.super_frames
    });
    add("truncated_frames".into(), "packets", "Frames that the capture cut short.", |row| row.ledger.counters.truncated_frames);
    let copies = "Frames recognised as second copies, whether they were left out (`duplicate_packets`) or not.";
    add("recognised_duplicate_packets".into(), "packets", copies, |row| row.ledger.counters.copies_packets);
    let octets = "Their octets on the wire.";
    add("recognised_duplicate_octets".into(), "octets", octets, |row| row.ledger.counters.copies_octets);
    add("tunnelled_packets".into(), "packets", "Metered packets that were encapsulated.", |row| {
        row.ledger.counters.tunnelled_packets
    });
    let paths = "Descriptions of encapsulations that the meter handed over.";
    add("tunnel_paths".into(), "records", paths, |row| row.ledger.counters.tunnel_paths);
    let lost = "Of those, how many found no room in the ring; flows keep the kinds of their encapsulations.";
    add("tunnel_paths_lost".into(), "records", lost, |row| row.ledger.counters.tunnel_paths_lost);
    // The class `none` is never sampled.
    for class in Class::ALL.into_iter().skip(1) {
        let class_name = class.name();
        let mut add = |what: &str, definition: &'static str, get: fn(&CoverageRow) -> &[u64; Class::CELLS]| {
            let value = move |row: &CoverageRow| signed(get(row)[class as usize]);
            out.add(Group::ALWAYS, format!("{what}_{class_name}"), "records", definition, value);
        };
        add("samples", "Samples of this class handed over.", |row| &row.ledger.counters.samples);
        add("samples_shed", "Samples of this class left out because it had used its share.", |row| {
            &row.ledger.counters.samples_shed
        });
        add("samples_lost", "Samples of this class left out because the ring had no room.", |row| {
            &row.ledger.counters.samples_lost
        });
    }
    let silent = "the interface does not say, or the frames are from a capture file";
    let dropped = "Packets that the interface or its driver dropped before the meter.";
    out.optional("nic_dropped_packets", "packets", silent, dropped, |row: &CoverageRow| row.nic_dropped.map(signed));
    let sent = "Packets that the interface sent; a tap sends none.";
    out.optional("tx_packets", "packets", silent, sent, |row: &CoverageRow| row.tx_packets.map(signed));
}
