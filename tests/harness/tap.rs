//! A packet socket on a tap interface → the frames as they were on the wire, tag and all.
#![expect(clippy::disallowed_methods, reason = "a deadline bounds how long a test waits for frames")]

use std::{
    ffi::CString,
    io, mem,
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};

/// Room for frames that wait to be read.
const BUFFER_BYTES: libc::c_int = 256 << 20;
/// Longest frame that is read whole.
const FRAME_OCTETS_MAX: usize = 65_536;
/// Not in the libc crate for all targets: the VLAN fields of the auxiliary record count.
const VLAN_VALID: u32 = 1 << 4;
const VLAN_PROTOCOL_VALID: u32 = 1 << 6;

/// Listens on one interface.
#[derive(Debug)]
pub struct TapSocket {
    descriptor: OwnedFd,
    buffer: Vec<u8>,
    /// Frames the interface's own host sent: none, if the tap is passive.
    pub outgoing: u64,
}

impl TapSocket {
    /// Opens on an interface of the calling thread's namespace.
    ///
    /// # Errors
    /// No such interface, or no privileges.
    pub fn open(interface: &str) -> anyhow::Result<Self> {
        let all = (libc::ETH_P_ALL as u16).to_be();
        // SAFETY: no memory is passed.
        let raw = unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) };
        ensure!(raw >= 0, "packet socket: {}", io::Error::last_os_error());
        // SAFETY: just opened, no other owner.
        let descriptor = unsafe { OwnedFd::from_raw_fd(raw) };
        for (level, name, value) in
            [(libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, BUFFER_BYTES), (libc::SOL_PACKET, libc::PACKET_AUXDATA, 1)]
        {
            let value: libc::c_int = value;
            // SAFETY: the value outlives the call and the length is its own.
            let result = unsafe { libc::setsockopt(raw, level, name, (&raw const value).cast(), size_of_val(&value) as u32) };
            ensure!(result == 0, "socket option {name}: {}", io::Error::last_os_error());
        }
        let text = CString::new(interface).context("interface name")?;
        // SAFETY: all-zero octets are a valid address.
        let mut address: libc::sockaddr_ll = unsafe { mem::zeroed() };
        address.sll_family = libc::AF_PACKET as u16;
        address.sll_protocol = all;
        // SAFETY: a C string that outlives the call.
        address.sll_ifindex = unsafe { libc::if_nametoindex(text.as_ptr()) } as i32;
        ensure!(address.sll_ifindex != 0, "no interface {interface}");
        // SAFETY: the address outlives the call and the length is its own.
        let result = unsafe { libc::bind(raw, (&raw const address).cast(), size_of_val(&address) as u32) };
        ensure!(result == 0, "bind to {interface}: {}", io::Error::last_os_error());
        Ok(Self { descriptor, buffer: vec![0; FRAME_OCTETS_MAX], outgoing: 0 })
    }

    /// Reads until there are `count` frames, or until none came for `patience`.
    ///
    /// # Errors
    /// The socket fails.
    pub fn frames(&mut self, count: usize, patience: Duration) -> anyhow::Result<Vec<Vec<u8>>> {
        let mut frames = Vec::new();
        let mut deadline = Instant::now() + patience;
        while frames.len() < count {
            if let Some(frame) = self.frame()? {
                frames.push(frame);
                deadline = Instant::now() + patience;
            } else if !self.wait(deadline)? {
                break;
            }
        }
        Ok(frames)
    }

    /// Sends a frame.
    ///
    /// # Errors
    /// The interface refuses it.
    pub fn send(&self, frame: &[u8]) -> anyhow::Result<()> {
        // SAFETY: the octets outlive the call.
        let sent = unsafe { libc::send(self.descriptor.as_raw_fd(), frame.as_ptr().cast(), frame.len(), 0) };
        ensure!(sent == frame.len() as isize, "send {} octets: {}", frame.len(), io::Error::last_os_error());
        Ok(())
    }

    /// Waits for something to read; false when the deadline passed.
    fn wait(&self, deadline: Instant) -> anyhow::Result<bool> {
        let left = deadline.saturating_duration_since(Instant::now());
        let mut poll = libc::pollfd { fd: self.descriptor.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: one entry, which outlives the call.
        let ready = unsafe { libc::poll(&raw mut poll, 1, left.as_millis() as i32) };
        ensure!(ready >= 0, "poll: {}", io::Error::last_os_error());
        Ok(ready > 0)
    }

    /// The next received frame that is there, with the tag that the kernel took off put back.
    fn frame(&mut self) -> anyhow::Result<Option<Vec<u8>>> {
        loop {
            // SAFETY: all-zero octets are valid for both.
            let (mut address, mut message): (libc::sockaddr_ll, libc::msghdr) = unsafe { (mem::zeroed(), mem::zeroed()) };
            let mut control = [0u64; 16];
            let mut vector = libc::iovec { iov_base: self.buffer.as_mut_ptr().cast(), iov_len: self.buffer.len() };
            message.msg_name = (&raw mut address).cast();
            message.msg_namelen = size_of_val(&address) as u32;
            message.msg_iov = &raw mut vector;
            message.msg_iovlen = 1;
            message.msg_control = control.as_mut_ptr().cast();
            message.msg_controllen = size_of_val(&control);
            // SAFETY: the header points to buffers of the stated lengths that outlive the call.
            let octets = unsafe { libc::recvmsg(self.descriptor.as_raw_fd(), &raw mut message, libc::MSG_DONTWAIT) };
            if octets < 0 {
                let error = io::Error::last_os_error();
                match error.kind() {
                    io::ErrorKind::WouldBlock => return Ok(None),
                    io::ErrorKind::Interrupted => continue,
                    _ => return Err(error).context("read the tap"),
                }
            }
            if address.sll_pkttype == libc::PACKET_OUTGOING {
                self.outgoing += 1;
                continue;
            }
            let mut frame = self.buffer[..octets as usize].to_vec();
            if let Some(tag) = tag_of(&message) {
                frame.splice(12..12, tag);
            }
            return Ok(Some(frame));
        }
    }

    /// Frames that found no room in the socket.
    ///
    /// # Errors
    /// The socket fails.
    pub fn dropped(&self) -> anyhow::Result<u32> {
        let mut counts = [0u32; 2];
        let mut octets = size_of_val(&counts) as u32;
        let raw = self.descriptor.as_raw_fd();
        // SAFETY: the record and its length outlive the call.
        let result = unsafe {
            libc::getsockopt(raw, libc::SOL_PACKET, libc::PACKET_STATISTICS, counts.as_mut_ptr().cast(), &raw mut octets)
        };
        ensure!(result == 0, "statistics: {}", io::Error::last_os_error());
        Ok(counts[1])
    }
}

/// The VLAN tag in the auxiliary record of a received message.
fn tag_of(message: &libc::msghdr) -> Option<[u8; 4]> {
    // SAFETY: the kernel filled in the header; its control buffer is still there.
    let header = unsafe { libc::CMSG_FIRSTHDR(message).as_ref() }?;
    if (header.cmsg_level, header.cmsg_type) != (libc::SOL_PACKET, libc::PACKET_AUXDATA) {
        return None;
    }
    // SAFETY: a record of this kind follows a header of this kind; read without assuming alignment.
    let record = unsafe { libc::CMSG_DATA(header).cast::<libc::tpacket_auxdata>().read_unaligned() };
    if record.tp_status & VLAN_VALID == 0 {
        return None;
    }
    let protocol = if record.tp_status & VLAN_PROTOCOL_VALID != 0 { record.tp_vlan_tpid } else { 0x8100 };
    let ([a, b], [c, d]) = (protocol.to_be_bytes(), record.tp_vlan_tci.to_be_bytes());
    Some([a, b, c, d])
}
