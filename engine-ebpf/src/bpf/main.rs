//! The BPF binary: a placeholder that passes every frame on.
#![no_std]
#![no_main]
#![expect(missing_docs, reason = "the entry-point macros of aya write undocumented items")]

use aya_ebpf::{bindings::xdp_action, macros::xdp, programs::XdpContext};

/// Passes every frame on.
#[xdp]
pub fn tap_xdp(_context: XdpContext) -> u32 {
    xdp_action::XDP_PASS
}

/// Never reached: the program is verified to have no path to a panic.
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

/// The licence that the kernel reads: helpers that are for GPL programs only need the GPL half.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
