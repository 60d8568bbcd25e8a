//! Octets as a capture file: the reader never panics, lends only what is there, and says every fault in one line.

use std::io::{Cursor, Write};

use auscult::capture::replay::{
    Replay,
    limit::{INTERFACES_MAX, WIRE_OCTETS_MAX, frame_octets_max},
};

/// Octets of frames after which a decompression bomb has shown enough.
const LENT_OCTETS_MAX: u64 = 8 << 20;

/// The input is the file.
pub fn capture_reader(octets: &[u8]) {
    // What is packed is the other target's matter: it starts a thread per input.
    if octets.starts_with(&[0x1f, 0x8b]) || matches!(octets, [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..]) {
        return;
    }
    read(octets.to_vec(), Some(octets.len() as u64));
}

/// The first octet says how the rest becomes a packed file: as it is, or packed (whole, cut, or with one octet changed).
pub fn capture_gzip_zstd(octets: &[u8]) {
    let Some((&how, rest)) = octets.split_first() else { return read(Vec::new(), Some(0)) };
    let mut packed = match how & 3 {
        0 => rest.to_vec(),
        1 => gzip(rest),
        2 => zstd::bulk::compress(rest, 1).expect("zstd packs anything"),
        _ => {
            // Members one behind the other.
            let (first, second) = rest.split_at(rest.len() / 2);
            [gzip(first), gzip(second)].concat()
        }
    };
    let length = packed.len();
    if how & 4 != 0 {
        packed.truncate(length - length.min(usize::from(how >> 4) + 1));
    }
    if how & 8 != 0 && length > 0 {
        let at = usize::from(how) * 7 % length;
        if let Some(octet) = packed.get_mut(at) {
            *octet ^= 1 << (how >> 5);
        }
    }
    let whole = how & 3 != 0 && how & 12 == 0;
    read(packed, whole.then_some(rest.len() as u64));
}

fn gzip(octets: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(octets).and_then(|()| encoder.finish()).expect("memory takes everything")
}

/// Reads a file to its end. `stored` is how many octets of capture are in it, where that is known.
fn read(octets: Vec<u8>, stored: Option<u64>) {
    let length = octets.len() as u64;
    let mut replay = Replay::from_reader("the-file", Cursor::new(octets));
    let mut lent = 0;
    loop {
        let (link_type, captured, interface) = match replay.next_frame() {
            Ok(Some(frame)) => {
                assert!(frame.wire_octets as usize >= frame.octets.len(), "{frame:?}");
                assert!(frame.wire_octets <= WIRE_OCTETS_MAX, "{frame:?}");
                assert!(frame.at <= i64::MAX as u64, "{frame:?}");
                (frame.link_type, frame.octets.len(), frame.interface)
            }
            Ok(None) => break,
            Err(error) => {
                let text = error.to_string();
                assert!(text.contains("the-file") && text.lines().count() == 1, "{text}");
                assert_eq!(replay.next_frame().expect("an error ends the file"), None);
                break;
            }
        };
        assert!(captured <= frame_octets_max(link_type) as usize, "{captured} octets on link {link_type}");
        assert!((interface as usize) < replay.interfaces().len() && replay.interfaces().len() <= INTERFACES_MAX);
        // The shortest record of any format is a simple packet block of 16 octets.
        lent += captured as u64 + 16;
        if let Some(stored) = stored {
            assert!(lent <= stored, "{lent} octets of frames and their headers in {stored}");
        } else if lent > LENT_OCTETS_MAX {
            return;
        }
    }
    assert!(replay.progress().octets_read() <= length);
}
