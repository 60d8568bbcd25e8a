//! MAC address → the organisation that it is registered to.
//!
//! The table is `engine/rules/oui.zst`, which `cargo xtask oui` writes: the IEEE's MA-L (24 bits), MA-M (28) and MA-S (36) assignments.
//! Decompressed it is, for each of the three in this order, a number of entries, that many prefixes in rising order, each as the distance
//! from the one before, and that many names, each as zero for the next name not met yet or as the distance back from it; then the names,
//! a line each. All numbers are LEB128. Names are as the IEEE has them; [`short`] makes of them what people write.

use std::sync::OnceLock;

use super::maker;
pub use super::maker::short;

/// Bits of the prefixes of MA-L, MA-M and MA-S.
const PREFIX_BITS: [u32; 3] = [24, 28, 36];
/// Most octets of the table, decompressed: a bound for who would replace it.
const TABLE_OCTETS_MAX: usize = 8 << 20;

static PACKED: &[u8] = include_bytes!("../../rules/oui.zst");
static TABLE: OnceLock<Table> = OnceLock::new();

/// Prefixes of hypervisors' and containers' network cards.
const VIRTUAL: &[(&[u8], &str)] = &[
    (&[0x00, 0x05, 0x69], "VMware"),
    (&[0x00, 0x0c, 0x29], "VMware"),
    (&[0x00, 0x1c, 0x14], "VMware"),
    (&[0x00, 0x50, 0x56], "VMware"),
    (&[0x08, 0x00, 0x27], "VirtualBox"),
    (&[0x0a, 0x00, 0x27], "VirtualBox"),
    (&[0x52, 0x54, 0x00], "QEMU"),
    (&[0x54, 0x52, 0x00], "QEMU"),
    (&[0x00, 0x15, 0x5d], "Hyper-V"),
    (&[0x00, 0x16, 0x3e], "Xen"),
    (&[0x00, 0x1c, 0x42], "Parallels"),
    (&[0x50, 0x6b, 0x8d], "Nutanix"),
    (&[0xbc, 0x24, 0x11], "Proxmox"),
    (&[0x02, 0x42], "Docker"),
];

/// The table, decoded.
#[derive(Debug, Default)]
struct Table {
    kinds: [Kind; 3],
    names: Vec<Box<str>>,
}

/// Assignments of one length, by prefix.
#[derive(Debug, Default)]
struct Kind {
    prefixes: Vec<u64>,
    names: Vec<u32>,
}

/// The organisation that the MAC is registered to, shortly. `None` when it is not registered, or locally administered.
pub fn lookup(mac: [u8; 6]) -> Option<&'static str> {
    if is_local(mac) {
        return None;
    }
    let name = TABLE.get_or_init(|| Table::decode(PACKED).unwrap_or_default()).find(mac)?;
    // Blocks that the IEEE hands out in parts, and owners who do not want to be known.
    (!matches!(name, "IEEE Registration Authority" | "Private")).then_some(name)
}

/// The MAC is one that a hypervisor or a container engine gives to its guests; its maker.
pub fn virtual_maker(mac: [u8; 6]) -> Option<&'static str> {
    VIRTUAL.iter().find(|(prefix, _)| mac.starts_with(prefix)).map(|(_, maker)| *maker)
}

/// The MAC is one that a hypervisor or a container engine gives to its guests.
pub fn is_virtual(mac: [u8; 6]) -> bool {
    virtual_maker(mac).is_some()
}

/// The MAC is locally administered and no known hypervisor's: most likely drawn at random.
pub fn is_randomised(mac: [u8; 6]) -> bool {
    is_local(mac) && !is_virtual(mac)
}

const fn is_local(mac: [u8; 6]) -> bool {
    mac[0] & 2 != 0
}

impl Table {
    fn decode(packed: &[u8]) -> Option<Self> {
        let octets = zstd::bulk::decompress(packed, TABLE_OCTETS_MAX).ok()?;
        let mut rest = octets.as_slice();
        let mut table = Self::default();
        let mut met = 0_u32;
        for kind in &mut table.kinds {
            let count = number(&mut rest)?;
            let mut prefix = 0_u64;
            for _ in 0..count {
                prefix = prefix.checked_add(number(&mut rest)?)?;
                kind.prefixes.push(prefix);
            }
            for _ in 0..count {
                let back = u32::try_from(number(&mut rest)?).ok()?;
                kind.names.push(met.checked_sub(back)?);
                met += u32::from(back == 0);
            }
        }
        table.names = std::str::from_utf8(rest).ok()?.lines().map(|name| short(name).into_boxed_str()).collect();
        (table.names.len() == usize::try_from(met).ok()?).then_some(table)
    }

    /// The longest prefix's name.
    fn find(&self, mac: [u8; 6]) -> Option<&str> {
        let whole = mac.iter().fold(0_u64, |whole, octet| whole << 8 | u64::from(*octet));
        self.kinds.iter().zip(PREFIX_BITS).rev().find_map(|(kind, bits)| {
            let at = kind.prefixes.binary_search(&(whole >> (48 - bits))).ok()?;
            let name = usize::try_from(*kind.names.get(at)?).ok()?;
            self.names.get(name).map(|name| &**name)
        })
    }
}

/// A LEB128 number.
fn number(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0_u64;
    for shift in (0..63).step_by(7) {
        let (first, others) = rest.split_first()?;
        *rest = others;
        value |= u64::from(first & 0x7f) << shift;
        if first & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn makers_of_every_length_of_prefix_are_found() {
        let check = |mac: [u8; 6], expect: Option<&str>| assert_eq!(lookup(mac), expect, "{mac:02x?}");
        check([0x00, 0x00, 0x01, 1, 2, 3], Some("Xerox"));
        check([0x00, 0x17, 0x88, 1, 2, 3], Some("Philips Lighting"));
        check([0x00, 0x55, 0xda, 0x01, 2, 3], Some("Shinko Technos"));
        check([0x02, 0x00, 0x01, 1, 2, 3], None);
        check([0xff; 6], None);
    }

    #[test]
    fn a_table_that_is_cut_or_no_table_is_refused() {
        assert!(Table::decode(PACKED).is_some_and(|table| table.kinds.iter().all(|kind| !kind.prefixes.is_empty())));
        assert!(Table::decode(&PACKED[..PACKED.len() / 2]).is_none() && Table::decode(b"no table").is_none());
        assert!(PACKED.len() < 700 << 10, "{}", PACKED.len());
    }

    #[test]
    fn virtual_and_random_addresses_are_told_apart() {
        assert!(is_virtual([0x00, 0x50, 0x56, 1, 2, 3]) && !is_randomised([0x00, 0x50, 0x56, 1, 2, 3]));
        assert!(is_virtual([0x52, 0x54, 0x00, 1, 2, 3]) && !is_randomised([0x52, 0x54, 0x00, 1, 2, 3]));
        assert!(is_virtual([0x02, 0x42, 0xac, 0x11, 0, 2]) && virtual_maker([0x02, 0x42, 0, 0, 0, 0]) == Some("Docker"));
        assert!(is_randomised([0xda, 1, 2, 3, 4, 5]) && !is_virtual([0xda, 1, 2, 3, 4, 5]));
        assert!(!is_randomised([0x00, 0x17, 0x88, 1, 2, 3]));
    }

    #[test]
    fn numbers_end_where_they_end() {
        let mut rest: &[u8] = &[0xe5, 0x8e, 0x26, 0x01];
        assert_eq!((number(&mut rest), number(&mut rest), number(&mut rest)), (Some(624_485), Some(1), None));
        assert_eq!(number(&mut [0xff; 12].as_slice()), None);
    }
}
