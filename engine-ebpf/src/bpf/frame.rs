//! Frames as the hooks see them: linear part by direct access, the rest by helper.

use core::{arch::asm, mem::MaybeUninit};

use auscult_ebpf::{
    frame::{Frame, Words, digest},
    limit::{DIGEST_BLOCK, DIGEST_OCTETS_MAX, HEADER_OFFSET_MAX},
    record::Core,
};
use aya_ebpf::{
    EbpfContext as _,
    bindings::{__sk_buff, xdp_md},
    helpers::generated::{bpf_skb_load_bytes, bpf_skb_pull_data, bpf_xdp_get_buff_len, bpf_xdp_load_bytes},
    programs::{TcContext, XdpContext},
};

use crate::map::{self, SCRATCH_FROM};

const _: () = assert!(HEADER_OFFSET_MAX == 1023, "the mask in `header` is its literal");

/// Deepest offset of a payload octet that is digested.
const PAYLOAD_OFFSET_MAX: u32 = 4095;
/// Octets from the start of a frame that any header can be in.
const HEADERS_OCTETS: u32 = HEADER_OFFSET_MAX + 1 + 64;

/// Direct access to the linear part.
#[derive(Clone, Copy)]
struct Linear {
    start: usize,
    end: usize,
    blur: *mut u32,
}

impl Linear {
    /// One bound check; the access then uses the very pointer that was checked. Both steps are real instructions, because LLVM
    /// would otherwise compute the address a second time and the verifier would not know that one.
    #[inline(always)]
    fn header<const N: usize>(&self, offset: u32) -> Option<[u8; N]> {
        if offset > HEADER_OFFSET_MAX {
            return None;
        }
        let mut bounded = u64::from(offset);
        let mut at = self.start;
        // SAFETY: arithmetic on registers only.
        unsafe {
            asm!("{0} &= 1023", inout(reg) bounded);
            asm!("{0} += {1}", inout(reg) at, in(reg) bounded);
        }
        if at + N > self.end {
            return None;
        }
        // SAFETY: `at..at + N` lies between the packet's start and its end, which was just checked (and is checked by the verifier).
        Some(unsafe { (at as *const [u8; N]).read_unaligned() })
    }

    /// Writes the number to memory and reads it back: one unknown scalar instead of a constant per path. (Adding a number that is
    /// always zero will not do: the verifier then tracks what was added to.)
    #[inline(always)]
    fn blur(&self, offset: u32) -> u32 {
        // SAFETY: the cell is this CPU's own (`map::core`).
        unsafe {
            self.blur.write_volatile(offset);
            self.blur.read_volatile()
        }
    }
}

impl Words for Linear {
    /// By the same means as a header.
    #[inline(always)]
    fn words<const N: usize>(&self, offset: u32) -> Option<[u64; N]> {
        if offset > PAYLOAD_OFFSET_MAX {
            return None;
        }
        let mut bounded = u64::from(offset);
        let mut at = self.start;
        // SAFETY: arithmetic on registers only.
        unsafe {
            asm!("{0} &= 4095", inout(reg) bounded);
            asm!("{0} += {1}", inout(reg) at, in(reg) bounded);
        }
        if at + N * 8 > self.end {
            return None;
        }
        // SAFETY: as in `header`.
        Some(unsafe { (at as *const [u64; N]).read_unaligned() })
    }
}

/// A payload that was put together.
struct Together(*const u8);

impl Words for Together {
    #[inline(always)]
    fn words<const N: usize>(&self, offset: u32) -> Option<[u64; N]> {
        const { assert!(N * 8 <= DIGEST_BLOCK as usize) };
        let mut bounded = u64::from(offset);
        // SAFETY: arithmetic on a register only.
        unsafe { asm!("{0} &= 2047", inout(reg) bounded) };
        // SAFETY: the scratch has room for a block behind any such number.
        Some(unsafe { self.0.add(bounded as usize).cast::<[u64; N]>().read_unaligned() })
    }
}

/// A length that the verifier sees bounded by `1..=N`.
#[inline(always)]
fn bounded<const N: usize>(length: u32) -> u32 {
    let length = core::hint::black_box(length);
    if length as usize > N {
        N as u32
    } else if length == 0 {
        1
    } else {
        length
    }
}

/// Whether a header that is not in the linear part can be elsewhere in the frame: drivers split headers from payload, or leave
/// little more than the link header in the linear part.
#[inline(always)]
fn lies_within<const N: usize>(offset: u32, octets: u32) -> bool {
    offset <= HEADER_OFFSET_MAX && offset + N as u32 <= octets
}

/// What tells hooks apart: how octets behind the linear part are had.
pub trait Hook {
    /// A frame may have parts behind the linear one.
    const PARTS: bool;
    /// Headers may be there, too.
    const FAR_HEADERS: bool;

    /// Copies octets of the frame; whether they are all there.
    ///
    /// # Safety
    /// `length` is at most `N`.
    unsafe fn load<const N: usize>(&self, offset: u32, length: u32, into: &mut [MaybeUninit<u8>; N]) -> bool;

    /// The frame is marked as several.
    #[inline(always)]
    fn is_merged(&self) -> bool {
        false
    }
}

/// An XDP hook. `FRAGS`: the program takes frames of several buffers.
pub struct Xdp<const FRAGS: bool>(*mut xdp_md);

impl<const FRAGS: bool> Hook for Xdp<FRAGS> {
    const PARTS: bool = FRAGS;
    const FAR_HEADERS: bool = FRAGS;

    #[inline(always)]
    unsafe fn load<const N: usize>(&self, offset: u32, length: u32, into: &mut [MaybeUninit<u8>; N]) -> bool {
        // SAFETY: the helper checks the packet's bounds; `into` has room for what the caller asks for.
        unsafe { bpf_xdp_load_bytes(self.0, offset, into.as_mut_ptr().cast(), length) == 0 }
    }
}

/// The TCX hook.
pub struct Tcx(*mut __sk_buff);

impl Hook for Tcx {
    const PARTS: bool = true;
    const FAR_HEADERS: bool = false;

    #[inline(always)]
    unsafe fn load<const N: usize>(&self, offset: u32, length: u32, into: &mut [MaybeUninit<u8>; N]) -> bool {
        // SAFETY: as for XDP.
        unsafe { bpf_skb_load_bytes(self.0.cast(), offset, into.as_mut_ptr().cast(), length) == 0 }
    }

    #[inline(always)]
    fn is_merged(&self) -> bool {
        // SAFETY: the context is the program's own; the field is a plain read that the verifier rewrites. It is the payload of each of the
        // frames that were, or will be, and zero for a frame as it is on the wire.
        unsafe { (*self.0).gso_size != 0 }
    }
}

/// A frame at a hook.
pub struct HookFrame<H> {
    hook: H,
    linear: Linear,
    octets: u32,
    /// A VLAN tag that is held beside the frame.
    tag: Option<u16>,
}

/// A frame at an XDP hook.
pub type XdpFrame<const FRAGS: bool> = HookFrame<Xdp<FRAGS>>;
/// A frame at the TCX hook.
pub type TcxFrame = HookFrame<Tcx>;

impl<const FRAGS: bool> XdpFrame<FRAGS> {
    #[inline(always)]
    pub fn new(context: &XdpContext, core: &mut Core) -> Self {
        let (start, end) = (context.data(), context.data_end());
        let octets = if FRAGS {
            // SAFETY: the context is the program's own.
            unsafe { bpf_xdp_get_buff_len(context.ctx) as u32 }
        } else {
            (end - start) as u32
        };
        Self { hook: Xdp(context.ctx), linear: Linear { start, end, blur: &raw mut core.blur }, octets, tag: None }
    }

    /// The `u64` in front of the frame, in test runs.
    #[inline(always)]
    pub fn metadata_time(&self) -> Option<u64> {
        // SAFETY: the context is the program's own.
        let at = unsafe { (*self.hook.0).data_meta } as usize;
        if at + 8 > self.linear.start {
            return None;
        }
        // SAFETY: `at..at + 8` lies between the metadata's start and the packet's, which was just checked.
        Some(unsafe { (at as *const u64).read_unaligned() })
    }
}

impl TcxFrame {
    #[inline(always)]
    pub fn new(context: &TcContext, core: &mut Core) -> Self {
        let skb = context.as_ptr().cast::<__sk_buff>();
        // SAFETY: the context is the program's own; the fields are plain reads that the verifier rewrites.
        let length = unsafe { (*skb).len };
        let headers = if length < HEADERS_OCTETS { length } else { HEADERS_OCTETS };
        if context.data() + headers as usize > context.data_end() {
            // Headers go to the linear part. When that fails, those that are not there count as cut off.
            // SAFETY: the context is the program's own, and no pointer into the frame was made yet.
            unsafe { bpf_skb_pull_data(skb, headers) };
        }
        // SAFETY: as above.
        let (octets, present, tag) = unsafe { ((*skb).len, (*skb).vlan_present, (*skb).vlan_tci) };
        let linear = Linear { start: context.data(), end: context.data_end(), blur: &raw mut core.blur };
        // A tag that is held beside the frame was on the wire.
        let (tag, octets) = if present == 0 { (None, octets) } else { (Some(tag as u16), octets + 4) };
        Self { hook: Tcx(skb), linear, octets, tag }
    }

    /// `skb->tstamp`, in test runs.
    #[inline(always)]
    pub fn metadata_time(&self) -> u64 {
        // SAFETY: as in `new`.
        unsafe { (*self.hook.0).tstamp }
    }
}

impl<H: Hook> Frame for HookFrame<H> {
    #[inline(always)]
    fn read<const N: usize>(&self, offset: u32) -> Option<[u8; N]> {
        let near = self.linear.header(offset);
        if !H::FAR_HEADERS || near.is_some() || !lies_within::<N>(offset, self.octets) {
            return near;
        }
        let mut octets = [const { MaybeUninit::new(0) }; N];
        // SAFETY: it is as many octets as there is room for.
        let loaded = unsafe { self.hook.load(offset, N as u32, &mut octets) };
        // SAFETY: every octet was initialised above, whatever the helper did.
        if loaded { Some(octets.map(|octet| unsafe { octet.assume_init() })) } else { None }
    }

    #[inline(always)]
    fn read_near<const N: usize>(&self, offset: u32) -> Option<[u8; N]> {
        self.linear.header(offset)
    }

    #[inline(always)]
    fn wire_octets(&self) -> u32 {
        self.octets
    }

    #[inline(always)]
    fn captured_octets(&self) -> u32 {
        self.octets
    }

    #[inline(always)]
    fn is_merged(&self) -> bool {
        self.hook.is_merged()
    }

    #[inline(always)]
    fn offloaded_tag(&self) -> Option<u16> {
        self.tag
    }

    #[inline(always)]
    fn blur(&self, offset: u32) -> u32 {
        self.linear.blur(offset)
    }

    #[inline(always)]
    fn digest(&self, offset: u32, length: u32, keys: &[u64; 5]) -> u64 {
        let left = self.octets.saturating_sub(offset);
        let length = if length < left { length } else { left };
        let linear = (self.linear.end - self.linear.start) as u32;
        if !H::PARTS || length == 0 || offset + length <= linear {
            return digest(&self.linear, offset, length, keys);
        }
        let Some(scratch) = map::scratch() else { return 0 };
        const FROM: usize = SCRATCH_FROM as usize;
        const OCTETS: usize = DIGEST_OCTETS_MAX as usize;
        // SAFETY: the scratch has that much room from there on, and octets that are not yet initialised are octets.
        let room = unsafe { &mut *scratch.as_mut_ptr().add(FROM).cast::<[MaybeUninit<u8>; OCTETS]>() };
        // SAFETY: bounded by the room.
        if !unsafe { self.hook.load(offset, bounded::<OCTETS>(length), room) } {
            return 0;
        }
        digest(&Together(scratch.as_ptr()), SCRATCH_FROM, length, keys)
    }

    #[inline(always)]
    fn copy<const N: usize>(&self, offset: u32, length: u32, into: &mut [MaybeUninit<u8>; N]) -> bool {
        // SAFETY: bounded by the room.
        unsafe { self.hook.load(offset, bounded::<N>(length), into) }
    }
}
