//! Addresses of an Ethernet frame moved, so that a copy of a capture speaks of other hosts.
//!
//! Unicast MAC, IPv4 and IPv6 addresses move, those of ARP too; what groups, loopback and "no address" stand for stays.
//! IPv4 header checksums are kept right; transport checksums are left as they are.

/// Moves all addresses of a frame by `by`.
pub fn shift(frame: &mut [u8], by: u16) {
    let mut offset = 12;
    for at in [0, 6] {
        mac(frame, at, by);
    }
    for _ in 0..4 {
        match ethertype(frame, offset) {
            Some(0x8100 | 0x88a8 | 0x9100) => offset += 4,
            Some(0x0800) => return ipv4(frame, offset + 2, by),
            Some(0x86dd) => return ipv6(frame, offset + 2, by),
            Some(0x0806) => return arp(frame, offset + 2, by),
            _ => return,
        }
    }
}

fn ethertype(frame: &[u8], offset: usize) -> Option<u16> {
    let octets = frame.get(offset..)?.first_chunk()?;
    Some(u16::from_be_bytes(*octets))
}

/// The maker's half stays.
fn mac(frame: &mut [u8], at: usize, by: u16) {
    let Some(address) = frame.get_mut(at..at + 6) else { return };
    if address[0] & 1 == 0 && address.iter().any(|&octet| octet != 0) {
        let [high, low] = by.to_be_bytes();
        address[3] = address[3].wrapping_add(low);
        address[4] = address[4].wrapping_add(high);
    }
}

/// The network's first octet and the host's last stay; how much the address's two words in one's complement grew.
fn address_v4(frame: &mut [u8], at: usize, by: u16) -> u32 {
    let Some(address) = frame.get_mut(at..at + 4) else { return 0 };
    if matches!(address[0], 0 | 127 | 224..) {
        return 0;
    }
    let sum = |a: &[u8]| u32::from(u16::from_be_bytes([a[0], a[1]])) + u32::from(u16::from_be_bytes([a[2], a[3]]));
    let before = sum(address);
    let [high, low] = by.to_be_bytes();
    address[1] = address[1].wrapping_add(low);
    address[2] = address[2].wrapping_add(high);
    // RFC 1624: minus m, plus m'.
    sum(address) + 2 * 0xffff - before
}

fn ipv4(frame: &mut [u8], at: usize, by: u16) {
    if frame.len() < at + 20 {
        return;
    }
    let grew = address_v4(frame, at + 12, by) + address_v4(frame, at + 16, by);
    let Some(checksum) = frame.get_mut(at + 10..at + 12) else { return };
    let mut sum = u32::from(!u16::from_be_bytes([checksum[0], checksum[1]])) + grew;
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    checksum.copy_from_slice(&(!(sum as u16)).to_be_bytes());
}

/// The octet of an interface identifier that is made from the MAC octet that [`mac`] moves.
fn ipv6(frame: &mut [u8], at: usize, by: u16) {
    for at in [at + 8, at + 24] {
        let Some(address) = frame.get_mut(at..at + 16) else { return };
        if address[0] != 0xff && address[..15].iter().any(|&octet| octet != 0) {
            let [high, low] = by.to_be_bytes();
            address[13] = address[13].wrapping_add(low);
            address[14] = address[14].wrapping_add(high);
        }
    }
}

fn arp(frame: &mut [u8], at: usize, by: u16) {
    // Ethernet and IPv4 only (RFC 826).
    if frame.get(at..at + 6) == Some(&[0, 1, 8, 0, 6, 4]) {
        mac(frame, at + 8, by);
        address_v4(frame, at + 14, by);
        mac(frame, at + 18, by);
        address_v4(frame, at + 24, by);
    }
}
