//! What every entry point does with its frame.

use crate::map::{CpuRing, RecentCells};
use auscult_ebpf::{
    frame::Frame,
    meter::{self, Slots},
    parse::{self, Packet, Start},
    record::Core,
    settings::{FLAG_VLAN_IN_KEY, Settings},
};

/// Counts, parses and meters a frame. `adjust` may change the parsed packet: benches make many flows of one frame with it.
#[inline(always)]
pub fn meter_frame<const GROUPS: u32, F: Frame, S: Slots>(
    frame: &F,
    at: u64,
    settings: &Settings,
    core: &mut Core,
    packet: &'static mut Packet,
    mut slots: S,
    adjust: impl Fn(&mut Packet, &Core),
) {
    meter::seen(frame, settings, &mut core.counters);
    match parse::parse(frame, Start::Ethernet, settings.has(FLAG_VLAN_IN_KEY), packet) {
        Ok(()) => {
            packet.observation_point = settings.observation_point;
            adjust(packet, core);
            let packet = core::hint::black_box(packet);
            if meter::left_out(frame, packet, at, settings, core, &mut RecentCells) {
                return;
            }
            meter::meter::<GROUPS, _, _, _>(frame, packet, at, settings, &mut slots, core, &mut CpuRing);
        }
        Err(reason) => meter::discarded(frame, reason, &mut core.counters),
    }
}
