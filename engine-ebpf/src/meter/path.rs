//! The encapsulations of a direction's first packet: a reference in the delta, and a record of its own that says what it means.
//!
//! A site has few tunnels and many flows through each, so the addresses do not travel in every delta.

use super::{Sink, tick};
use crate::{
    frame::Frame,
    hash,
    limit::{PATH_TICKS_SHIFT, PATHS_KEPT},
    parse::Packet,
    record::{ABI, Core, Delta, FORM_IPV4, FORM_IPV6, Header, Kind, TunnelLayer},
    settings::Settings,
};

/// Has the delta refer to the packet's encapsulations, and hands them over unless that was done of late.
#[inline(always)]
pub fn path<F: Frame, K: Sink>(
    frame: &F,
    packet: &Packet,
    at: u64,
    settings: &Settings,
    slot: &mut Delta,
    core: &mut Core,
    sink: &mut K,
) {
    let [outer, inner] = &mut core.path.layers;
    layer(frame, packet.tunnel_network[0], packet.tunnel_id[0], packet.tunnel_kinds & 15, packet.tunnel_has_id & 1, outer);
    let nested = packet.tunnels > 1;
    let (network, id) = if nested { (packet.tunnel_network[1], packet.tunnel_id[1]) } else { (0, 0) };
    let (kind, has_id) = if nested { (packet.tunnel_kinds >> 4, packet.tunnel_has_id >> 1) } else { (0, 0) };
    layer(frame, network, id, kind, has_id, inner);
    let sum = hash::keyed(outer.words(), &settings.hash_keys)
        ^ hash::keyed(inner.words(), &settings.hash_keys).wrapping_mul(0xd6e8_feb8_6659_fd93);
    let reference = sum << 8 | u64::from(outer.kind | inner.kind << 4);
    slot.tunnels[(packet.direction & 1) as usize] = reference;
    let sent = &mut core.paths_sent[(reference >> 8) as usize & (PATHS_KEPT - 1)];
    let now = reference ^ (tick(at) >> PATH_TICKS_SHIFT) << 32;
    if *sent == now {
        return;
    }
    core.path.header = Header { kind: Kind::TunnelPath as u8, abi: ABI, cpu: slot.header.cpu, packets: [0, 0] };
    core.path.reference = reference;
    if sink.path(&core.path).is_ok() {
        *sent = now;
        core.counters.tunnel_paths += 1;
    } else {
        core.counters.tunnel_paths_lost += 1;
    }
}

#[inline(always)]
fn layer<F: Frame>(frame: &F, network: u16, id: u32, kind: u8, has_id: u8, into: &mut TunnelLayer) {
    (into.source, into.target) = ([0; 16], [0; 16]);
    (into.id, into.kind, into.form, into.has_id) = (id, kind, 0, has_id);
    if network == 0 {
        return;
    }
    let at = u32::from(network) - 1;
    match frame.read::<1>(at) {
        Some([version]) if version >> 4 == 6 => {
            if let Some(addresses) = frame.read::<32>(at + 8) {
                into.form = FORM_IPV6;
                into.source.copy_from_slice(&addresses[..16]);
                into.target.copy_from_slice(&addresses[16..]);
            }
        }
        Some(_) => {
            if let Some(addresses) = frame.read::<8>(at + 12) {
                into.form = FORM_IPV4;
                into.source[..4].copy_from_slice(&addresses[..4]);
                into.target[..4].copy_from_slice(&addresses[4..]);
            }
        }
        None => {}
    }
}
