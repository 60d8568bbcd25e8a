//! BPF links by system call: made, pinned, found again, given another program. The library's own hide the descriptor that this takes,
//! and fall back to attachments that no pin can hold.

use std::{
    ffi::CString,
    io,
    os::{
        fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd},
        unix::ffi::OsStrExt as _,
    },
    path::Path,
};

// Commands, types and flags of `linux/bpf.h` and `linux/if_link.h`.
const OBJ_PIN: libc::c_int = 6;
const OBJ_GET: libc::c_int = 7;
const OBJ_GET_INFO_BY_FD: libc::c_int = 15;
const LINK_CREATE: libc::c_int = 28;
const LINK_UPDATE: libc::c_int = 29;
const LINK_DETACH: libc::c_int = 34;
const ATTACH_XDP: u32 = 37;
const ATTACH_TCX_INGRESS: u32 = 46;
const XDP_FLAGS_SKB_MODE: u32 = 2;
const XDP_FLAGS_DRV_MODE: u32 = 4;
const F_BEFORE: u32 = 8;

/// Where a link goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// XDP in the driver.
    XdpNative,
    /// XDP in the stack.
    XdpGeneric,
    /// TCX ingress, in front of all others.
    Tcx,
}

#[repr(C)]
struct Create {
    program: u32,
    interface: u32,
    attach_type: u32,
    flags: u32,
}

#[repr(C)]
struct Update {
    link: u32,
    program: u32,
    flags: u32,
    old_program: u32,
}

#[repr(C)]
struct Object {
    path: u64,
    descriptor: u32,
    flags: u32,
}

#[repr(C)]
struct Question {
    descriptor: u32,
    octets: u32,
    into: u64,
}

/// The leading members of `struct bpf_link_info` for XDP and TCX.
#[repr(C)]
#[derive(Default)]
struct LinkStart {
    kind: u32,
    id: u32,
    program: u32,
    padding: u32,
    interface: u32,
    attach_type: u32,
    /// The kernel fills as much of its structure as there is room for.
    rest: [u64; 8],
}

fn bpf<T>(command: libc::c_int, attributes: &mut T) -> io::Result<libc::c_int> {
    // SAFETY: each caller passes the leading members of `union bpf_attr` for its command, with their size; members that the kernel
    // knows beyond them count as zero. What they point to lives through the call.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(attributes), size_of::<T>()) };
    match libc::c_int::try_from(result) {
        Ok(result) if result >= 0 => Ok(result),
        _ => Err(io::Error::last_os_error()),
    }
}

fn descriptor(number: libc::c_int) -> OwnedFd {
    // SAFETY: a system call has just made it, and nobody else has it.
    unsafe { OwnedFd::from_raw_fd(number) }
}

fn path_text(path: &Path) -> io::Result<CString> {
    CString::new(path.as_os_str().as_bytes()).map_err(io::Error::other)
}

/// Attaches a loaded program. The descriptor holds the attachment.
pub(super) fn create(program: BorrowedFd<'_>, interface: u32, place: Place) -> io::Result<OwnedFd> {
    let (attach_type, flags) = match place {
        Place::XdpNative => (ATTACH_XDP, XDP_FLAGS_DRV_MODE),
        Place::XdpGeneric => (ATTACH_XDP, XDP_FLAGS_SKB_MODE),
        Place::Tcx => (ATTACH_TCX_INGRESS, F_BEFORE),
    };
    let program = program.as_raw_fd().cast_unsigned();
    bpf(LINK_CREATE, &mut Create { program, interface, attach_type, flags }).map(descriptor)
}

/// Puts another program in the place of the link's: no frame passes between them.
pub(super) fn update(link: BorrowedFd<'_>, program: BorrowedFd<'_>) -> io::Result<()> {
    let [link, program] = [link, program].map(|fd| fd.as_raw_fd().cast_unsigned());
    bpf(LINK_UPDATE, &mut Update { link, program, flags: 0, old_program: 0 }).map(drop)
}

/// Detaches. When it returns, no frame reaches the program any more, whoever else holds the link; without it, the kernel ends a pinned
/// link some time after its last name is gone.
pub(super) fn detach(link: BorrowedFd<'_>) -> io::Result<()> {
    bpf(LINK_DETACH, &mut link.as_raw_fd().cast_unsigned()).map(drop)
}

/// Lets the attachment outlive its descriptor, under a name in a BPF file system.
pub(super) fn pin(link: BorrowedFd<'_>, path: &Path) -> io::Result<()> {
    let text = path_text(path)?;
    let mut object =
        Object { path: text.as_ptr().expose_provenance() as u64, descriptor: link.as_raw_fd().cast_unsigned(), flags: 0 };
    bpf(OBJ_PIN, &mut object).map(drop)
}

/// The object of that name.
pub(super) fn open(path: &Path) -> io::Result<OwnedFd> {
    let text = path_text(path)?;
    bpf(OBJ_GET, &mut Object { path: text.as_ptr().expose_provenance() as u64, descriptor: 0, flags: 0 }).map(descriptor)
}

/// Index of the interface that a link is at; `None` when that is gone.
pub(super) fn interface(link: BorrowedFd<'_>) -> io::Result<Option<u32>> {
    let mut info = LinkStart::default();
    let mut request = Question {
        descriptor: link.as_raw_fd().cast_unsigned(),
        octets: size_of::<LinkStart>() as u32,
        into: (&raw mut info).expose_provenance() as u64,
    };
    bpf(OBJ_GET_INFO_BY_FD, &mut request)?;
    Ok((info.interface != 0).then_some(info.interface))
}
