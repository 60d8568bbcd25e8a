//! The kernel programs: thin entry points over the library, and the sweep.

#![no_std]
#![no_main]
#![feature(asm_experimental_arch)]
#![expect(missing_docs, reason = "the entry-point macros write undocumented functions of their own")]

mod frame;
mod map;
mod object;
mod sweep;
mod tap;

use auscult_ebpf::{
    frame::Frame,
    meter::{FlowCache, group},
    parse::Packet,
    record::Core,
    settings::{FLAG_TIME_IN_METADATA, Settings},
};
use aya_ebpf::{
    bindings::{TC_ACT_SHOT, TC_ACT_UNSPEC, xdp_action},
    macros::{classifier, raw_tracepoint, xdp},
    programs::{RawTracePointContext, TcContext, XdpContext},
};
use frame::{TcxFrame, XdpFrame};
use map::CpuSets;

/// XDP entry point for drivers and MTUs whose frames are linear.
#[xdp]
#[inline(always)]
pub fn tap_xdp(context: XdpContext) -> u32 {
    tap_xdp_any::<false>(&context)
}

/// XDP entry point for multi-buffer (jumbo) frames.
#[xdp(frags)]
#[inline(always)]
pub fn tap_xdp_frags(context: XdpContext) -> u32 {
    tap_xdp_any::<true>(&context)
}

#[inline(always)]
fn tap_xdp_any<const FRAGS: bool>(context: &XdpContext) -> u32 {
    let settings = map::settings();
    let exact = map::exact_now(settings);
    if let Some((core, packet)) = map::core() {
        let frame = XdpFrame::<FRAGS>::new(context, core);
        let told = if settings.has(FLAG_TIME_IN_METADATA) { frame.metadata_time() } else { None };
        let at = if let Some(at) = told { at } else { map::now(exact, settings, core) };
        tap(&frame, at, settings, core, packet);
    }
    if settings.disposition == xdp_action::XDP_DROP { xdp_action::XDP_DROP } else { xdp_action::XDP_PASS }
}

/// TCX ingress entry point, where XDP cannot be had.
#[classifier]
#[inline(always)]
pub fn tap_tcx(context: TcContext) -> i32 {
    let settings = map::settings();
    let exact = map::exact_now(settings);
    if let Some((core, packet)) = map::core() {
        let frame = TcxFrame::new(&context, core);
        let at = if settings.has(FLAG_TIME_IN_METADATA) { frame.metadata_time() } else { map::now(exact, settings, core) };
        tap(&frame, at, settings, core, packet);
    }
    if settings.disposition == xdp_action::XDP_DROP { TC_ACT_SHOT } else { TC_ACT_UNSPEC }
}

#[inline(always)]
fn tap<F: Frame>(frame: &F, at: u64, settings: &Settings, core: &mut Core, packet: &'static mut Packet) {
    let slots = FlowCache { sets: CpuSets, mask: settings.sets_mask };
    tap::meter_frame::<{ group::ALL }, _, _>(frame, at, settings, core, packet, slots, |_, _| {});
}

/// Runs after each NAPI poll of this CPU: the next packet reads the clock anew (`clock = "poll"`).
#[raw_tracepoint(tracepoint = "napi_poll")]
pub fn napi_poll(_: RawTracePointContext) -> i32 {
    if let Some((core, _)) = map::core() {
        core.poll_at = 0;
    }
    0
}
