//! Bounds of the capture-file reader.

use auscult_ebpf::limit::DELTA_OCTETS_MAX;

/// Octets of one captured frame. Larger lengths are damage, not frames (the bound that Wireshark's readers use).
pub const FRAME_OCTETS_MAX: u32 = 256 << 10;
/// The same on links whose messages may be that long: D-Bus (231) and USB (249).
pub const FRAME_OCTETS_MAX_BUS: u32 = 128 << 20;
/// The same for the streams of an oscilloscope-like bus recorder, EBHSCR (279).
pub const FRAME_OCTETS_MAX_RECORDER: u32 = 32 << 20;
/// Octets on the wire that a frame may claim; more is cut to this, so that the meter's sums (which are closed at
/// [`DELTA_OCTETS_MAX`]) cannot overflow.
pub const WIRE_OCTETS_MAX: u32 = 1 << 31;
/// Octets of one pcapng block.
pub const BLOCK_OCTETS_MAX: u32 = 16 << 20;
/// Octets at the start of a pcapng section or interface block in which options are looked for.
pub const OPTION_OCTETS_MAX: u32 = 64 << 10;
/// Octets kept of an interface's name. Linux allows 15; other systems write whole descriptions.
pub const INTERFACE_NAME_OCTETS_MAX: usize = 255;
/// Interfaces of all files of a replay.
pub const INTERFACES_MAX: usize = 1 << 16;
/// Octets of one buffer that the unpacking thread hands over.
pub const UNPACKED_OCTETS: usize = 256 << 10;
/// Such buffers in flight per compressed file.
pub const UNPACKED_BUFFERS: usize = 4;

/// Octets of the longest frame on a link.
pub const fn frame_octets_max(link_type: u32) -> u32 {
    match link_type {
        231 | 249 => FRAME_OCTETS_MAX_BUS,
        279 => FRAME_OCTETS_MAX_RECORDER,
        _ => FRAME_OCTETS_MAX,
    }
}

const _: () = assert!(FRAME_OCTETS_MAX_BUS <= WIRE_OCTETS_MAX && (DELTA_OCTETS_MAX - 1).checked_add(WIRE_OCTETS_MAX).is_some());
const _: () = assert!(FRAME_OCTETS_MAX < BLOCK_OCTETS_MAX, "a frame of the usual kind fits a pcapng block");
