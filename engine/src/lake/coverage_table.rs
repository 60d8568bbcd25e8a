//! The table `coverage`: per minute and observation point a row of the ledger, and rows of sidedness for it and its VLANs.

use std::sync::LazyLock;

use auscult_ebpf::{
    discard::{Discard, Lost},
    record::Counters,
    sample::Class,
};

use super::{
    column::{Name, Time},
    schema::{self, Group, Table},
};
use crate::{
    coverage::{CoverageRow, Scope},
    ledger::{Count, Ledger, UserLost},
    sidedness::{SideCounts, Sidedness, Sides, TRANSPORTS},
};

/// The table.
pub fn table() -> &'static Table<CoverageRow> {
    static TABLE: LazyLock<Table<CoverageRow>> = LazyLock::new(|| {
        let mut columns = Columns::default();
        minute(&mut columns);
        let kept = columns.group(NO_LEDGER, |row: &CoverageRow| row.ledger.is_some());
        ledger(&mut columns, kept);
        meter(&mut columns, kept);
        sides(&mut columns);
        let row = "What one observation point saw, kept and lost in one minute (the ledger), and of how many flows it saw one direction \
                   only (sidedness). All values but `resident_` are increments since the row before of the same kind, which is the minute unless nobody metered meanwhile; several rows of one minute, observation \
                   point and scope add up. Rows of the ledger have the scope `port` and are written when the minute is over; those of \
                   sidedness, one for the port and one for each VLAN, when no flow can end in it any more, which is the idle timeout \
                   later. Sum sidedness over one scope only: the rows `vlan` add up to the rows `port`.";
        columns.table("coverage", row, ["observation_point", "minute"], "minute")
    });
    &TABLE
}

const NO_LEDGER: &str = "the row counts sidedness";
const NO_SIDES: &str = "the row is the ledger's";

type Columns = schema::Columns<CoverageRow>;

fn minute(out: &mut Columns) {
    out.add(Group::ALWAYS, "minute", "ns", "Start of the minute.", |row: &CoverageRow| Time(row.minute));
    let point = "Name of the observation point (interface).";
    out.add(Group::ALWAYS, "observation_point", "", point, |row: &CoverageRow| Name::Shared(row.observation_point.clone()));
    let scope = "What the row counts: port (the whole observation point), vlan (one VLAN of it).";
    out.add(Group::ALWAYS, "scope", "", scope, |row: &CoverageRow| Name::Fixed(row.scope.name()));
    let untagged = "the row is of a whole port, or of its untagged frames";
    let vlan = "VLAN of the row: the outermost identifier of a flow's first packet.";
    out.optional("vlan_id", "", untagged, vlan, |row: &CoverageRow| match row.scope {
        Scope::Vlan(vlan) => vlan,
        Scope::Port => None,
    });
}

fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// Two columns: packets and octets.
fn pair(
    (out, group): (&mut Columns, Group),
    what: &str,
    definitions: [&'static str; 2],
    get: impl Fn(&Ledger) -> Count + Copy + Send + Sync + 'static,
) {
    let [packets, octets] = definitions;
    let get = move |row: &CoverageRow| row.ledger.as_ref().map(|row| get(&row.ledger)).unwrap_or_default();
    out.add(group, format!("{what}_packets"), "packets", packets, move |row: &CoverageRow| signed(get(row).packets));
    out.add(group, format!("{what}_octets"), "octets", octets, move |row: &CoverageRow| signed(get(row).octets));
}

fn ledger(out: &mut Columns, kept: Group) {
    let seen = ["Frames that reached the meter.", "Their octets on the wire."];
    pair((out, kept), "seen", seen, Ledger::seen);
    let metered = ["Packets recounted from the deltas that reached userspace.", "Their octets on the wire."];
    pair((out, kept), "metered", metered, |ledger| ledger.metered);
    pair(
        (out, kept),
        "duplicate",
        ["Frames left out as duplicates of a mirrored frame.", "Their octets on the wire."],
        |ledger| Count { packets: ledger.counters.duplicate_packets, octets: ledger.counters.duplicate_octets },
    );
    for reason in Discard::ALL {
        let what = format!("discarded_{}", reason.name());
        pair((out, kept), &what, ["Frames refused for this reason.", "Their octets on the wire."], move |ledger| {
            ledger.discarded_by(reason)
        });
    }
    for place in Lost::ALL {
        let what = format!("lost_{}", place.name());
        pair((out, kept), &what, ["Packets lost in the kernel at this place.", "Their octets on the wire."], move |ledger| {
            ledger.lost_by(place)
        });
    }
    for place in UserLost::ALL {
        let what = format!("lost_{}", place.name());
        let texts = ["Packets lost in userspace at this place; they are part of `metered_packets`.", "Their octets on the wire."];
        pair((out, kept), &what, texts, move |ledger| ledger.user_lost[place as usize]);
    }
    let resident =
        ["Packets still in the meter's cache at the end of the minute (a state).", "Their octets on the wire (a state)."];
    pair((out, kept), "resident", resident, |ledger| ledger.resident);
    let law =
        "seen − (metered + duplicate + discarded + lost in the kernel + growth of resident): 0, or packets vanished uncounted.";
    let imbalance = |row: &CoverageRow| row.ledger.as_ref().map_or((0, 0), |row| row.imbalance);
    out.add(kept, "imbalance_packets", "packets", law, move |row: &CoverageRow| imbalance(row).0);
    out.add(kept, "imbalance_octets", "octets", "The same in octets.", move |row: &CoverageRow| imbalance(row).1);
}

fn meter(out: &mut Columns, kept: Group) {
    let mut add = |name: String, unit: &'static str, definition: &'static str, get: fn(&Counters) -> u64| {
        let get = move |row: &CoverageRow| row.ledger.as_ref().map_or(0, |row| get(&row.ledger.counters));
        out.add(kept, name, unit, definition, move |row: &CoverageRow| signed(get(row)));
    };
    add("deltas".into(), "records", "Deltas that the meter handed over.", |counters| counters.deltas);
    add(
        "super_frames".into(),
        "packets",
        "Frames that an offload merged: longer than an MTU can make them, or marked so by the kernel.",
        |counters| counters.super_frames,
    );
    add("truncated_frames".into(), "packets", "Frames that the capture cut short.", |counters| counters.truncated_frames);
    let copies = "Frames recognised as second copies, whether they were left out (`duplicate_packets`) or not.";
    add("recognised_duplicate_packets".into(), "packets", copies, |counters| counters.copies_packets);
    let octets = "Their octets on the wire.";
    add("recognised_duplicate_octets".into(), "octets", octets, |counters| counters.copies_octets);
    add("tunnelled_packets".into(), "packets", "Metered packets that were encapsulated.", |counters| counters.tunnelled_packets);
    let paths = "Descriptions of encapsulations that the meter handed over.";
    add("tunnel_paths".into(), "records", paths, |counters| counters.tunnel_paths);
    let lost = "Of those, how many found no room in the ring; flows keep the kinds of their encapsulations.";
    add("tunnel_paths_lost".into(), "records", lost, |counters| counters.tunnel_paths_lost);
    // The class `none` is never sampled.
    for class in Class::ALL.into_iter().skip(1) {
        let class_name = class.name();
        let mut add = |what: &str, definition: &'static str, get: fn(&Counters) -> &[u64; Class::CELLS]| {
            let get = move |row: &CoverageRow| row.ledger.as_ref().map_or(0, |row| get(&row.ledger.counters)[class as usize]);
            let value = move |row: &CoverageRow| signed(get(row));
            out.add(kept, format!("{what}_{class_name}"), "records", definition, value);
        };
        add("samples", "Samples of this class handed over.", |counters| &counters.samples);
        add("samples_shed", "Samples of this class left out because it had used its share.", |counters| &counters.samples_shed);
        add("samples_lost", "Samples of this class left out because the ring had no room.", |counters| &counters.samples_lost);
    }
    let silent = "the interface does not say, the frames are from a capture file, or the row counts sidedness";
    let dropped = "Packets that the interface or its driver dropped before the meter.";
    out.optional("nic_dropped_packets", "packets", silent, dropped, |row: &CoverageRow| row.ledger?.nic_dropped.map(signed));
    let sent = "Packets that the interface sent; a tap sends none.";
    out.optional("tx_packets", "packets", silent, sent, |row: &CoverageRow| row.ledger?.tx_packets.map(signed));
}

/// Sidedness of TCP flows and of all others.
fn sides(out: &mut Columns) {
    let group = out.group(NO_SIDES, |row: &CoverageRow| row.sides.is_some());
    let parts: [fn(&SideCounts) -> &Sides; 2] = [|sides| &sides.tcp, |sides| &sides.other];
    for (transport, part) in TRANSPORTS.into_iter().zip(parts) {
        for kind in Sidedness::ALL {
            let name = format!("{transport}_{}", kind.name());
            let get = move |row: &CoverageRow| row.sides.as_ref().map_or((0, 0), |sides| part(sides).of(kind));
            let [flows, packets] = definitions(transport, kind);
            out.add(group, format!("{name}_flows"), "flows", flows, move |row: &CoverageRow| signed(get(row).0));
            out.add(group, format!("{name}_packets"), "packets", packets, move |row: &CoverageRow| signed(get(row).1));
        }
    }
}

const fn definitions(transport: &str, kind: Sidedness) -> [&'static str; 2] {
    let is_tcp = matches!(transport.as_bytes(), b"tcp");
    let flows = match (kind, is_tcp) {
        (Sidedness::TwoSided, true) => "TCP flows with packets in both directions, each counted once, with its first segment.",
        (Sidedness::OneSided, true) => {
            "TCP flows of which one direction was seen and acknowledges what was not: the tap missed it."
        }
        (Sidedness::Undecided, true) => {
            "TCP flows of which one direction was seen, with nothing but SYN or RST: unanswered, or scans."
        }
        (Sidedness::TwoSided, false) => "Other flows with packets in both directions.",
        (Sidedness::OneSided, false) => "Other flows of which nothing but answers was seen: ICMP replies, DNS answers.",
        (Sidedness::Undecided, false) => "Other flows of which one direction was seen, which may have been all there was.",
    };
    [flows, "Packets of such flows and segments."]
}
