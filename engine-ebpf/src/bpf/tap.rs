//! What every entry point does with its frame.

use auscult_ebpf::{
    frame::Frame,
    meter::{self, Slots},
    parse::{self, Packet, Start},
    record::Core,
    settings::{FLAG_VLAN_IN_KEY, Settings},
};
use aya_ebpf::helpers::bpf_get_smp_processor_id;

use crate::map::{self, CpuRing};

/// Counts, parses and meters a frame. `adjust` may change the parsed packet: benches make many flows of one frame with it.
#[inline(always)]
pub fn meter_frame<const GROUPS: u32, F: Frame, S: Slots>(
    frame: &F,
    at: u64,
    settings: &Settings,
    core: &mut Core,
    mut slots: S,
    adjust: impl Fn(&mut Packet),
) {
    meter::seen(frame, settings, &mut core.counters);
    // SAFETY: no arguments.
    let cpu = unsafe { bpf_get_smp_processor_id() };
    let Some(packet) = map::packet() else { return };
    match parse::parse(frame, Start::Ethernet, settings.has(FLAG_VLAN_IN_KEY), packet) {
        Ok(()) => {
            packet.observation_point = settings.observation_point;
            adjust(packet);
            let packet = core::hint::black_box(packet);
            let mut ring = CpuRing { cpu };
            meter::meter::<GROUPS, _, _, _>(frame, packet, at, settings, &mut slots, core, cpu as u16, &mut ring);
        }
        Err(reason) => meter::discarded(frame, reason, &mut core.counters),
    }
}
