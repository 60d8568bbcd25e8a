//! What files know of their rows: where they are filed, what tells them apart, what they count.

use sha1::{Digest, Sha1};

use super::journal::Tally;
use crate::{
    coverage::{CoverageRow, Scope},
    flow::{Flow, UnixNanos},
    ledger::Count,
    sidedness::Sidedness,
};

/// A row of some table.
pub(super) trait Row: Sync + 'static {
    /// The time whose hour the row is filed by.
    fn filed_at(&self) -> UnixNanos;
    /// What tells the row from all others.
    fn identity(&self) -> [u64; 6];
    /// Packets of the row, for the ledger.
    fn count(&self) -> Count;
    /// The row by taps, for the books.
    fn tally(&self, to: &mut Tally);
}

impl Row for Flow {
    fn filed_at(&self) -> UnixNanos {
        self.end
    }
    fn identity(&self) -> [u64; 6] {
        let Count { packets, octets } = self.count();
        [self.flow_id, u64::from(self.segment), self.start.cast_unsigned(), self.end.cast_unsigned(), packets, octets]
    }
    fn count(&self) -> Count {
        let [forward, reverse] = &self.side.0;
        Count { packets: forward.packets + reverse.packets, octets: forward.layer2_octets + reverse.layer2_octets }
    }
    fn tally(&self, to: &mut Tally) {
        to.flow(self);
    }
}

impl Row for CoverageRow {
    fn filed_at(&self) -> UnixNanos {
        self.minute
    }
    fn identity(&self) -> [u64; 6] {
        let word = |digest: Sha1| {
            let mut word = [0; 8];
            word.copy_from_slice(&digest.finalize()[..8]);
            u64::from_le_bytes(word)
        };
        let point = word(Sha1::new_with_prefix(self.observation_point.as_bytes()));
        let minute = self.minute.cast_unsigned();
        let Some(sides) = &self.sides else {
            let ledger = self.ledger.map(|row| row.ledger).unwrap_or_default();
            let (seen, resident) = (ledger.seen(), ledger.resident.packets);
            return [minute, point, seen.packets, seen.octets, ledger.metered.packets, resident];
        };
        let scope = match self.scope {
            Scope::Port => 0,
            Scope::Vlan(None) => 1,
            Scope::Vlan(Some(vlan)) => 2 + u64::from(vlan),
        };
        let mut counts = Sha1::new();
        for (part, kind) in sides.parts().into_iter().flat_map(|part| Sidedness::ALL.map(|kind| (part, kind))) {
            let (flows, packets) = part.of(kind);
            counts.update(flows.to_le_bytes());
            counts.update(packets.to_le_bytes());
        }
        // No ledger's row has so many packets.
        [minute, point, u64::MAX, scope, word(counts), 0]
    }
    fn count(&self) -> Count {
        Count::default()
    }
    fn tally(&self, to: &mut Tally) {
        to.coverage(self);
    }
}
