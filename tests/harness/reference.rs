//! The same frames through the meter compiled natively: its records, octet for octet as the kernel would write them.

use std::mem::MaybeUninit;

use auscult_ebpf::{
    discard::Lost,
    frame::{Frame, Slice},
    limit::{COPY_BUCKETS, COPY_WAYS, SAMPLE_LARGE, SWEEP_SETS_MAX},
    meter::{self, FlowCache, Recent, Sets, Sink, group},
    parse::{self, Packet, Start},
    record::{
        ABI, Core, Delta, Header, Kind, Mark, SWEEP_FLUSH, SWEEP_MARK, SampleHead, Set, SweepArguments, TunnelPath, octets_of,
    },
    settings::{FLAG_VLAN_IN_KEY, Settings},
};

/// Sets that the sweep program takes at a time.
const BLOCK: u32 = 16;

/// The cache in memory.
struct Memory(Vec<Set>);

impl Sets for &mut Memory {
    fn set(&mut self, index: u32) -> Option<&mut Set> {
        self.0.get_mut(index as usize)
    }
}

/// The table of recent packets in memory.
struct Cells(Vec<u64>);

impl Recent for Cells {
    fn cells(&mut self, first: usize) -> [u64; COPY_WAYS] {
        *self.0[first..].first_chunk().expect("a bucket of the table")
    }

    fn exchange(&mut self, cell: usize, value: u64) -> u64 {
        std::mem::replace(&mut self.0[cell], value)
    }
}

/// Records one behind the other.
#[derive(Debug, Default)]
struct Octets {
    cpu: u16,
    octets: Vec<u8>,
    ends: Vec<usize>,
}

impl Octets {
    fn append(&mut self, parts: [&[u8]; 2]) {
        for part in parts {
            self.octets.extend(part);
        }
        self.ends.push(self.octets.len());
    }
}

impl Sink for Octets {
    fn cpu(&self) -> u16 {
        self.cpu
    }

    fn delta(&mut self, delta: &Delta) -> Result<(), Lost> {
        self.append([octets_of(delta), &[]]);
        Ok(())
    }

    fn path(&mut self, path: &TunnelPath) -> Result<(), Lost> {
        self.append([octets_of(path), &[]]);
        Ok(())
    }

    fn sample<F: Frame, const N: usize>(&mut self, head: &SampleHead, frame: &F, offset: u32) -> Result<(), Lost> {
        let mut payload = [MaybeUninit::new(0); N];
        if !frame.copy::<N>(offset, u32::from(head.length), &mut payload) {
            return Err(Lost::RingFull);
        }
        // SAFETY: every octet was initialised with zero, and `copy` writes initialised octets only.
        let payload = payload.map(|octet| unsafe { octet.assume_init() });
        self.append([octets_of(head), payload.get(..usize::from(head.length)).ok_or(Lost::RingFull)?]);
        Ok(())
    }
}

const _: () = assert!(SAMPLE_LARGE <= u16::MAX as usize);

/// The tap of one CPU, natively.
pub struct NativeTap {
    settings: Settings,
    sets: Memory,
    recent: Cells,
    core: Box<Core>,
    records: Octets,
}

impl NativeTap {
    /// An empty cache.
    pub fn new(settings: Settings, cpu: usize) -> Self {
        let sets = Memory(vec![Set::default(); settings.sets_mask as usize + 1]);
        let recent = Cells(vec![0; COPY_BUCKETS * COPY_WAYS]);
        Self { settings, sets, recent, core: Box::default(), records: Octets { cpu: cpu as u16, ..Octets::default() } }
    }

    /// Meters a whole frame at a time.
    pub fn frame(&mut self, at: u64, octets: &[u8]) {
        let Self { settings, sets, recent, core, records } = self;
        let frame = Slice::new(octets, octets.len() as u32);
        meter::seen(&frame, settings, &mut core.counters);
        let mut packet = Packet::default();
        match parse::parse(&frame, Start::Ethernet, settings.has(FLAG_VLAN_IN_KEY), &mut packet) {
            Ok(()) => {
                packet.observation_point = settings.observation_point;
                if meter::left_out(&frame, &mut packet, at, settings, core, recent) {
                    return;
                }
                let mut slots = FlowCache { sets, mask: settings.sets_mask };
                meter::meter::<{ group::ALL }, _, _, _>(&frame, &mut packet, at, settings, &mut slots, core, records);
            }
            Err(reason) => meter::discarded(&frame, reason, &mut core.counters),
        }
    }

    /// Does what the sweep program does.
    pub fn sweep(&mut self, arguments: &SweepArguments) {
        let Self { sets, core, records, .. } = self;
        let SweepArguments { first, count, flags, at, .. } = *arguments;
        if count != 0 && count <= SWEEP_SETS_MAX {
            let sets = sets.0.iter_mut().skip(first as usize).take(count.next_multiple_of(BLOCK) as usize);
            for slot in sets.flatten() {
                meter::sweep_slot(slot, at, flags & SWEEP_FLUSH != 0, &mut core.counters, records);
            }
        }
        if flags & SWEEP_MARK != 0 {
            let header = Header { kind: Kind::Mark as u8, abi: ABI, cpu: records.cpu, packets: [0, 0] };
            let mut mark = Mark { header, at, counters: core.counters, ..Mark::default() };
            for slot in sets.0.iter().flatten() {
                let (packets, octets) = meter::resident(slot);
                mark.resident_packets += packets;
                mark.resident_octets += octets;
            }
            records.append([octets_of(&mark), &[]]);
        }
    }

    /// The records since [`NativeTap::forget`], oldest first.
    pub fn records(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        let Octets { octets, ends, .. } = &self.records;
        let start = |i: usize| if i == 0 { 0 } else { ends[i - 1] };
        (0..ends.len()).map(move |i| &octets[start(i)..ends[i]])
    }

    /// Drops the records.
    pub fn forget(&mut self) {
        self.records.octets.clear();
        self.records.ends.clear();
    }
}
