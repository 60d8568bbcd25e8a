//! One network interface: index, flags, MTU, promiscuity and counters, by socket calls that keep to the network namespace in
//! which the interface was opened, whatever thread asks later.

use std::{
    ffi::CString,
    io,
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
    sync::{Mutex, PoisonError},
};

/// Counters of the interface itself, as the driver keeps them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NicCounters {
    /// Packets sent.
    pub transmitted: u64,
    /// Received packets that the stack or driver dropped (`rx_dropped`).
    pub dropped: u64,
    /// Packets the NIC had no buffer for (`rx_missed_errors`).
    pub missed: u64,
    /// Receive FIFO overruns (`rx_fifo_errors`).
    pub fifo: u64,
    /// All receive errors (`rx_errors`: CRC, length, frame and others).
    pub errors: u64,
}

impl NicCounters {
    /// What was counted since `earlier`; a counter that was reset counts from zero.
    pub fn since(&self, earlier: &Self) -> Self {
        let grown = |now: u64, then: u64| now.checked_sub(then).unwrap_or(now);
        Self {
            transmitted: grown(self.transmitted, earlier.transmitted),
            dropped: grown(self.dropped, earlier.dropped),
            missed: grown(self.missed, earlier.missed),
            fifo: grown(self.fifo, earlier.fifo),
            errors: grown(self.errors, earlier.errors),
        }
    }

    /// Both together.
    #[must_use]
    pub const fn plus(&self, other: &Self) -> Self {
        Self {
            transmitted: self.transmitted + other.transmitted,
            dropped: self.dropped + other.dropped,
            missed: self.missed + other.missed,
            fifo: self.fifo + other.fifo,
            errors: self.errors + other.errors,
        }
    }
}

/// `struct ifreq`: a name and 24 octets that each request reads in its own way.
#[repr(C, align(8))]
struct Request {
    name: [u8; libc::IFNAMSIZ],
    value: [u8; 24],
}

/// An interface of the namespace in which it was opened.
#[derive(Debug)]
pub(super) struct NetDevice {
    name: String,
    name_octets: [u8; libc::IFNAMSIZ],
    index: u32,
    control: OwnedFd,
    netlink: Mutex<OwnedFd>,
}

impl NetDevice {
    /// Opens the interface `name`; `None` when there is none.
    pub(super) fn open(name: &str) -> io::Result<Option<Self>> {
        let mut name_octets = [0; libc::IFNAMSIZ];
        let Ok(c_name) = CString::new(name) else { return Ok(None) };
        if name.is_empty() || name.len() >= name_octets.len() {
            return Ok(None);
        }
        name_octets[..name.len()].copy_from_slice(name.as_bytes());
        // SAFETY: a C string that lives through the call.
        let index = unsafe { libc::if_nametoindex(c_name.as_ptr()) };
        if index == 0 {
            return Ok(None);
        }
        let control = socket(libc::AF_INET, libc::SOCK_DGRAM, 0)?;
        let netlink = Mutex::new(socket(libc::AF_NETLINK, libc::SOCK_RAW, libc::NETLINK_ROUTE)?);
        Ok(Some(Self { name: name.to_owned(), name_octets, index, control, netlink }))
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn index(&self) -> u32 {
        self.index
    }

    /// Whether the name still is that of this interface.
    pub(super) fn is_present(&self) -> bool {
        let index = self.request(libc::SIOCGIFINDEX, [0; 24]).map(|value| [value[0], value[1], value[2], value[3]]);
        index.is_ok_and(|index| u32::from_ne_bytes(index) == self.index)
    }

    /// Interface flags (`IFF_*`).
    pub(super) fn flags(&self) -> io::Result<i16> {
        let value = self.request(libc::SIOCGIFFLAGS, [0; 24])?;
        Ok(i16::from_ne_bytes([value[0], value[1]]))
    }

    /// Sets the flags in `mask` to those in `bits` and returns the flags of before.
    pub(super) fn change_flags(&self, mask: i16, bits: i16) -> io::Result<i16> {
        let before = self.flags()?;
        let wanted = (before & !mask) | (bits & mask);
        if wanted != before {
            let mut value = [0; 24];
            value[..2].copy_from_slice(&wanted.to_ne_bytes());
            self.request(libc::SIOCSIFFLAGS, value)?;
        }
        Ok(before)
    }

    pub(super) fn mtu(&self) -> io::Result<u32> {
        let value = self.request(libc::SIOCGIFMTU, [0; 24])?;
        Ok(u32::from_ne_bytes([value[0], value[1], value[2], value[3]]))
    }

    /// Whether the interface has an IPv4 address.
    pub(super) fn has_ipv4(&self) -> bool {
        self.request(libc::SIOCGIFADDR, [0; 24]).is_ok()
    }

    /// Runs an ethtool command whose structure is `command`; the answer is in its place. Returns what the call returned.
    pub(super) fn ethtool(&self, command: &mut [u32]) -> io::Result<libc::c_int> {
        let mut value = [0; 24];
        value[..size_of::<usize>()].copy_from_slice(&command.as_mut_ptr().expose_provenance().to_ne_bytes());
        let mut request = Request { name: self.name_octets, value };
        // SAFETY: the request holds a pointer to a structure of the size its own length field tells, both live through the call.
        let result = unsafe { libc::ioctl(self.control.as_raw_fd(), libc::SIOCETHTOOL, &raw mut request) };
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
    }

    /// Holds the interface in promiscuous mode until the returned descriptor is closed, be it by the end of the process.
    pub(super) fn promiscuous(&self) -> io::Result<OwnedFd> {
        // Protocol zero: the socket itself receives nothing.
        let socket = socket(libc::AF_PACKET, libc::SOCK_RAW, 0)?;
        let membership = libc::packet_mreq {
            mr_ifindex: i32::try_from(self.index).map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))?,
            mr_type: libc::PACKET_MR_PROMISC as libc::c_ushort,
            mr_alen: 0,
            mr_address: [0; 8],
        };
        // SAFETY: the option's value is a `packet_mreq` of the given size that lives through the call.
        let result = unsafe {
            libc::setsockopt(
                socket.as_raw_fd(),
                libc::SOL_PACKET,
                libc::PACKET_ADD_MEMBERSHIP,
                (&raw const membership).cast(),
                size_of::<libc::packet_mreq>() as libc::socklen_t,
            )
        };
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(socket) }
    }

    /// The interface's counters, from rtnetlink.
    pub(super) fn counters(&self) -> io::Result<NicCounters> {
        let netlink = self.netlink.lock().unwrap_or_else(PoisonError::into_inner);
        let request = stats_request(self.index);
        // SAFETY: the request lives through the call and its length is given.
        let sent = unsafe { libc::send(netlink.as_raw_fd(), request.as_ptr().cast(), request.len(), 0) };
        if sent < 0 {
            return Err(io::Error::last_os_error());
        }
        let mut answer = [0_u8; 4096];
        // SAFETY: the buffer lives through the call and its length is given.
        let octets = unsafe { libc::recv(netlink.as_raw_fd(), answer.as_mut_ptr().cast(), answer.len(), 0) };
        let octets = usize::try_from(octets).map_err(|_| io::Error::last_os_error())?;
        parse_stats(answer.get(..octets).unwrap_or(&answer))
    }

    fn request(&self, number: libc::c_ulong, value: [u8; 24]) -> io::Result<[u8; 24]> {
        let mut request = Request { name: self.name_octets, value };
        // SAFETY: an `ifreq` that lives through the call; the requests used here hold no pointers.
        let result = unsafe { libc::ioctl(self.control.as_raw_fd(), number as _, &raw mut request) };
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(request.value) }
    }
}

fn socket(domain: libc::c_int, kind: libc::c_int, protocol: libc::c_int) -> io::Result<OwnedFd> {
    // SAFETY: no pointers.
    let fd = unsafe { libc::socket(domain, kind | libc::SOCK_CLOEXEC, protocol) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor is new and nobody else's.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

const RTM_NEWSTATS: u16 = 92;
const RTM_GETSTATS: u16 = 94;
const IFLA_STATS_LINK_64: u16 = 1;
const NLMSG_ERROR: u16 = 2;
const HEADER_OCTETS: usize = 16;
const STATS_HEADER_OCTETS: usize = 12;

/// A netlink request for the 64-bit counters of one interface.
fn stats_request(index: u32) -> [u8; HEADER_OCTETS + STATS_HEADER_OCTETS] {
    let mut request = [0; HEADER_OCTETS + STATS_HEADER_OCTETS];
    request[0..4].copy_from_slice(&((HEADER_OCTETS + STATS_HEADER_OCTETS) as u32).to_ne_bytes());
    request[4..6].copy_from_slice(&RTM_GETSTATS.to_ne_bytes());
    request[6..8].copy_from_slice(&(libc::NLM_F_REQUEST as u16).to_ne_bytes());
    request[20..24].copy_from_slice(&index.to_ne_bytes());
    request[24..28].copy_from_slice(&(1_u32 << (IFLA_STATS_LINK_64 - 1)).to_ne_bytes());
    request
}

/// The counters of a netlink answer.
fn parse_stats(answer: &[u8]) -> io::Result<NicCounters> {
    let bad = || io::Error::new(io::ErrorKind::InvalidData, "unexpected answer of rtnetlink");
    let half = |at: usize| answer.get(at..at + 2).and_then(|o| o.try_into().ok()).map(u16::from_ne_bytes);
    let kind = half(4).ok_or_else(bad)?;
    if kind == NLMSG_ERROR {
        let code = answer.get(HEADER_OCTETS..HEADER_OCTETS + 4).and_then(|o| o.try_into().ok()).map(i32::from_ne_bytes);
        return Err(io::Error::from_raw_os_error(-code.ok_or_else(bad)?));
    }
    if kind != RTM_NEWSTATS {
        return Err(bad());
    }
    let mut at = HEADER_OCTETS + STATS_HEADER_OCTETS;
    while let (Some(length), Some(kind)) = (half(at), half(at + 2)) {
        if kind == IFLA_STATS_LINK_64 {
            let counter = |position: usize| {
                let start = at + 4 + 8 * position;
                answer.get(start..start + 8).and_then(|o| o.try_into().ok()).map(u64::from_ne_bytes).ok_or_else(bad)
            };
            // Positions of `struct rtnl_link_stats64`.
            return Ok(NicCounters {
                transmitted: counter(1)?,
                errors: counter(4)?,
                dropped: counter(6)?,
                fifo: counter(14)?,
                missed: counter(15)?,
            });
        }
        at += usize::from(length.max(4)).next_multiple_of(4);
    }
    Err(bad())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_found_by_position() {
        let mut answer = vec![0; HEADER_OCTETS + STATS_HEADER_OCTETS];
        answer[4..6].copy_from_slice(&RTM_NEWSTATS.to_ne_bytes());
        // An attribute of five octets before ours, padded to eight.
        answer.extend([5, 0, 9, 0, 1, 0, 0, 0]);
        answer.extend(204_u16.to_ne_bytes());
        answer.extend(IFLA_STATS_LINK_64.to_ne_bytes());
        for position in 0..25_u64 {
            answer.extend((100 + position).to_ne_bytes());
        }
        let expect = NicCounters { transmitted: 101, errors: 104, dropped: 106, fifo: 114, missed: 115 };
        assert_eq!(parse_stats(&answer).expect("counters"), expect);
        assert!(parse_stats(&answer[..60]).is_err(), "cut short");
        answer[4..6].copy_from_slice(&NLMSG_ERROR.to_ne_bytes());
        answer[16..20].copy_from_slice(&(-libc::ENODEV).to_ne_bytes());
        assert_eq!(parse_stats(&answer).expect_err("an error").raw_os_error(), Some(libc::ENODEV));
    }

    #[test]
    fn differences_survive_a_reset() {
        let then = NicCounters { transmitted: 5, dropped: 10, missed: 0, fifo: 1, errors: 0 };
        let now = NicCounters { transmitted: 5, dropped: 3, missed: 2, fifo: 4, errors: 0 };
        assert_eq!(now.since(&then), NicCounters { transmitted: 0, dropped: 3, missed: 2, fifo: 3, errors: 0 });
    }

    #[test]
    fn the_loopback_interface_answers() {
        let loopback = NetDevice::open("lo").expect("sockets").expect("lo exists");
        assert_ne!(loopback.flags().expect("flags") & libc::IFF_LOOPBACK as i16, 0);
        assert!(loopback.mtu().expect("mtu") >= 1280);
        let first = loopback.counters().expect("counters");
        assert!(loopback.counters().expect("counters").transmitted >= first.transmitted);
        assert!(NetDevice::open("no-such-tap").expect("sockets").is_none());
        assert!(NetDevice::open("a-name-that-is-too-long").expect("sockets").is_none());
    }
}
