//! What DHCPv4 clients write of their make: options 43 (RFC 2132 §8.4), 124 and 125 (RFC 3925), and the URL of option 161
//! (RFC 8520 §10).
//!
//! Option 43 is read as CableLabs has it (CL-SP-CANN-DHCP-Reg), when it begins like a device type of theirs; option 125 as the
//! Broadband Forum has it (TR-069 annex F). What another vendor means by the same codes is not known, and not said.

use super::{Say, Who, reader::Reader};
use crate::observation::Field;

/// Enterprise number of the Broadband Forum.
const BROADBAND_FORUM: u32 = 3561;
const DEVICE_TYPE: u8 = 2;
/// Device types of CableLabs (sub-option 2).
const DEVICE_TYPES: [&[u8]; 6] = [b"ECM", b"EMTA", b"ESTB", b"EPS", b"EROUTER", b"MTA"];
const SUB_OPTIONS_MAX: usize = 64;

/// Sub-options of code, length and value; `None` when they do not fill the option.
fn sub_options(octets: &[u8]) -> Option<Vec<(u8, &[u8])>> {
    let (mut reader, mut all) = (Reader::new(octets), Vec::new());
    while all.len() < SUB_OPTIONS_MAX {
        match reader.u8() {
            None | Some(255) => return Some(all),
            Some(0) => {}
            Some(code) => {
                let octets = reader.u8()?;
                all.push((code, reader.take(octets.into())?));
            }
        }
    }
    None
}

/// Option 43.
pub fn specific(who: Who, octets: &[u8], say: &mut Say<'_>) {
    let Some(all) = sub_options(octets) else { return };
    let is_cable = all.iter().any(|(code, value)| *code == DEVICE_TYPE && DEVICE_TYPES.contains(value));
    if !is_cable {
        return;
    }
    for (code, value) in all {
        let field = match code {
            4 => Field::DhcpSerial,
            9 => Field::DhcpModel,
            10 => Field::DhcpManufacturer,
            _ => continue,
        };
        say.text(who, field, value);
    }
}

/// Option 124: enterprise numbers, each with vendor classes behind their lengths.
pub fn classes(who: Who, octets: &[u8], say: &mut Say<'_>) {
    let mut reader = Reader::new(octets);
    while let (Some(_enterprise), Some(octets)) = (reader.u32(), reader.u8()) {
        let Some(mut classes) = reader.part(octets.into()) else { break };
        while let Some(class) = classes.u8().and_then(|octets| classes.take(octets.into())) {
            say.text(who, Field::DhcpVendorClass, class);
        }
    }
}

/// Option 125: enterprise numbers, each with sub-options.
pub fn options(who: Who, octets: &[u8], say: &mut Say<'_>) {
    let mut reader = Reader::new(octets);
    while let (Some(enterprise), Some(octets)) = (reader.u32(), reader.u8()) {
        let Some(part) = reader.take(octets.into()) else { break };
        if enterprise != BROADBAND_FORUM {
            continue;
        }
        for (code, value) in sub_options(part).unwrap_or_default() {
            match code {
                2 => {
                    say.text(who, Field::DhcpSerial, value);
                }
                3 => {
                    say.text(who, Field::DhcpModel, value);
                }
                _ => {}
            }
        }
    }
}

/// Option 161: a manufacturer is whose host the URL names.
pub fn usage_url(who: Who, octets: &[u8], say: &mut Say<'_>) {
    let Some(rest) = octets.strip_prefix(b"https://").or_else(|| octets.strip_prefix(b"http://")) else { return };
    let host = rest.split(|octet| matches!(octet, b'/' | b':' | b'?' | b'#')).next().unwrap_or_default();
    if !host.contains(&b'@') {
        say.text(who, Field::DhcpManufacturer, host);
    }
}
