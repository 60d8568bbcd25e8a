//! One frame → millions of frames at a tap, made inside the kernel and not by system calls.
//!
//! A program of some dozen instructions gives each copy of the frame random numbers, such as a source port, and redirects it to a host's end.
//! `BPF_PROG_TEST_RUN` runs it with live frames, so that the copies travel the link as if a network card had received them. That needs a
//! tap whose own program is attached natively; elsewhere the link drops what it is given. The tap's counter says what has arrived.

use std::{
    io, mem,
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
    time::Duration,
};

use super::{Lab, LabError, player::interface};
use crate::time;

/// Most flows of a flood: its program draws source ports of that many.
pub const FLOOD_FLOWS_MAX: u32 = 1 << 16;

const BPF_PROG_LOAD: libc::c_long = 5;
const BPF_PROG_TEST_RUN: libc::c_long = 10;
const BPF_PROG_TYPE_XDP: u32 = 6;
const BPF_F_TEST_XDP_LIVE_FRAMES: u32 = 1 << 1;
/// Frames between two turns of the receiving side on the same CPU; a link's queue holds 256.
const BATCH_FRAMES: u32 = 64;
/// Source port of UDP and TCP over untagged IPv4 without options.
const SOURCE_PORT: u16 = 34;
const LICENSE: &[u8; 13] = b"Dual MIT/GPL\0";

/// `struct bpf_insn`.
#[repr(C)]
struct Instruction {
    code: u8,
    registers: u8,
    offset: i16,
    immediate: i32,
}

const fn instruction(code: u8, target: u8, source: u8, offset: i16, immediate: i32) -> Instruction {
    Instruction { code, registers: target | source << 4, offset, immediate }
}

/// The leading fields of `union bpf_attr` for `BPF_PROG_LOAD`.
#[repr(C)]
#[derive(Default)]
struct ProgramLoad {
    kind: u32,
    count: u32,
    instructions: u64,
    license: u64,
    rest: [u64; 12],
}

/// The leading fields of `union bpf_attr` for `BPF_PROG_TEST_RUN`.
#[repr(C)]
#[derive(Default)]
struct TestRun {
    program: u32,
    result: u32,
    octets_in: u32,
    octets_out: u32,
    frame_in: u64,
    frame_out: u64,
    repeat: u32,
    duration: u32,
    context_octets: [u32; 2],
    context: [u64; 2],
    flags: u32,
    cpu: u32,
    batch: u32,
    rest: u32,
}

/// A random number of 16 bits in network order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Octets before it in the frame.
    pub offset: u16,
    /// Its bits that are random; the others are zero.
    pub mask: u16,
}

/// A frame, ready to be multiplied.
#[derive(Debug)]
pub struct Flood<'a> {
    lab: &'a Lab,
    program: OwnedFd,
    frame: Vec<u8>,
}

impl<'a> Flood<'a> {
    /// Gets `frame` (untagged IPv4 without options, UDP or TCP) ready for the host's end `host`, as `flows` flows (a power of two).
    ///
    /// # Errors
    /// No privileges, or a kernel before 5.18.
    pub fn new(lab: &'a Lab, host: usize, frame: &[u8], flows: u32) -> Result<Self, LabError> {
        let mask = (flows.clamp(1, FLOOD_FLOWS_MAX) - 1) as u16;
        Self::varied(lab, host, frame, &[Place { offset: SOURCE_PORT, mask }])
    }

    /// Gets any frame ready, each copy of which has random numbers at these places; without any, all are the same.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn varied(lab: &'a Lab, host: usize, frame: &[u8], places: &[Place]) -> Result<Self, LabError> {
        let name = &lab.hosts()[host % lab.hosts().len()];
        let program = lab.site().run(|| load(interface(name)?.sll_ifindex, places))??;
        Ok(Self { lab, program, frame: frame.to_vec() })
    }

    /// Sends that many copies from the calling thread's CPU and says how long it took.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn play(&self, frames: u32) -> Result<Duration, LabError> {
        let attributes = TestRun {
            program: self.program.as_raw_fd().cast_unsigned(),
            octets_in: self.frame.len() as u32,
            frame_in: self.frame.as_ptr() as u64,
            repeat: frames,
            flags: BPF_F_TEST_XDP_LIVE_FRAMES,
            batch: BATCH_FRAMES,
            ..TestRun::default()
        };
        let begin = time::monotonic();
        self.lab.site().run(|| bpf(BPF_PROG_TEST_RUN, &attributes, "multiply a frame"))??;
        Ok(Duration::from_nanos(time::monotonic().saturating_sub(begin)))
    }
}

/// The program: a random number at each place, then out through `interface`.
fn load(interface: i32, places: &[Place]) -> Result<OwnedFd, LabError> {
    const PRANDOM: i32 = 7;
    const REDIRECT: i32 = 23;
    let mut program = vec![instruction(0xbf, 6, 1, 0, 0)]; // r6 = context
    for &Place { offset, mask } in places {
        program.extend([
            instruction(0x85, 0, 0, 0, PRANDOM),               // r0 = random
            instruction(0x57, 0, 0, 0, mask.to_be().into()),   // r0 &= mask
            instruction(0x61, 2, 6, 0, 0),                     // r2 = frame
            instruction(0x61, 3, 6, 4, 0),                     // r3 = its end
            instruction(0xbf, 4, 2, 0, 0),                     // r4 = r2
            instruction(0x07, 4, 0, 0, i32::from(offset) + 2), // r4 += offset + 2
            instruction(0x2d, 4, 3, 1, 0),                     // if r4 > r3 skip one
            instruction(0x6b, 2, 0, offset.cast_signed(), 0),  // 16 bits at offset = r0
        ]);
    }
    program.extend([
        instruction(0xb7, 1, 0, 0, interface), // r1 = interface
        instruction(0xb7, 2, 0, 0, 0),         // r2 = 0
        instruction(0x85, 0, 0, 0, REDIRECT),  // r0 = redirect(r1, r2)
        instruction(0x95, 0, 0, 0, 0),         // return r0
    ]);
    let attributes = ProgramLoad {
        kind: BPF_PROG_TYPE_XDP,
        count: program.len() as u32,
        instructions: program.as_ptr() as u64,
        license: LICENSE.as_ptr() as u64,
        ..ProgramLoad::default()
    };
    let descriptor = bpf(BPF_PROG_LOAD, &attributes, "load the program of a flood")?;
    // SAFETY: the system call returned a new descriptor that nothing else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

/// The `bpf` system call.
fn bpf<T>(command: libc::c_long, attributes: &T, what: &'static str) -> Result<i32, LabError> {
    // SAFETY: the attributes are a zero-extended prefix of `union bpf_attr`; they and what they point to outlive the call.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_ref(attributes), mem::size_of::<T>()) };
    match i32::try_from(result) {
        Ok(result) if result >= 0 => Ok(result),
        _ => Err(LabError::System { what, source: io::Error::last_os_error() }),
    }
}
