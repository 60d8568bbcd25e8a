//! Tiny captures made here, read in every way.

use std::{
    io::{Cursor, Read, Write},
    path::PathBuf,
};

use super::*;

/// A frame as a test compares it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Seen {
    at: u64,
    octets: Vec<u8>,
    wire_octets: u32,
    link_type: u32,
    interface: u32,
}

fn seen(at: u64, octets: &[u8], wire_octets: u32, link_type: u32, interface: u32) -> Seen {
    Seen { at, octets: octets.to_vec(), wire_octets, link_type, interface }
}

/// All frames and all errors.
fn drain(replay: &mut Replay) -> (Vec<Seen>, Vec<String>) {
    let (mut frames, mut errors) = (Vec::new(), Vec::new());
    loop {
        match replay.next_frame() {
            Ok(Some(frame)) => {
                assert!(frame.wire_octets as usize >= frame.octets.len());
                frames.push(seen(frame.at, frame.octets, frame.wire_octets, frame.link_type, frame.interface));
            }
            Ok(None) => break,
            Err(error) => errors.push(error.to_string()),
        }
    }
    assert!(matches!(replay.next_frame(), Ok(None)), "the end stays the end");
    (frames, errors)
}

fn read(capture: &[u8]) -> (Vec<Seen>, Vec<String>) {
    drain(&mut Replay::from_reader("a.pcap", Cursor::new(capture.to_vec())))
}

fn names(replay: &Replay) -> Vec<&str> {
    replay.interfaces().iter().map(|point| &*point.name).collect()
}

/// Writes integers in one byte order.
#[derive(Clone, Copy)]
struct Order(bool);

const LITTLE: Order = Order(false);
const BIG: Order = Order(true);

impl Order {
    fn u16(self, value: u16) -> [u8; 2] {
        if self.0 { value.to_be_bytes() } else { value.to_le_bytes() }
    }
    fn u32(self, value: u32) -> [u8; 4] {
        if self.0 { value.to_be_bytes() } else { value.to_le_bytes() }
    }
    fn words(self, words: &[u32]) -> Vec<u8> {
        words.iter().flat_map(|&word| self.u32(word)).collect()
    }
    fn pcap(self, magic: u32, version: (u16, u16), link_type: u32) -> Vec<u8> {
        [&self.u32(magic)[..], &self.u16(version.0), &self.u16(version.1), &self.words(&[0, 0, 65535, link_type])].concat()
    }
    fn record(self, header: [u32; 4], octets: &[u8]) -> Vec<u8> {
        [&self.words(&header), octets].concat()
    }
    fn block(self, kind: u32, body: &[u8]) -> Vec<u8> {
        let padded = body.len().next_multiple_of(4);
        let total = self.u32(padded as u32 + 12);
        [&self.u32(kind)[..], &total, body, &vec![0; padded - body.len()], &total].concat()
    }
    fn section(self) -> Vec<u8> {
        self.block(0x0a0d_0d0a, &[&self.words(&[0x1a2b_3c4d])[..], &self.u16(1), &self.u16(0), &[0xff; 8]].concat())
    }
    fn interface(self, link_type: u16, snap: u32, options: &[(u16, &[u8])]) -> Vec<u8> {
        let mut body = [&self.u16(link_type)[..], &[0; 2], &self.u32(snap)].concat();
        for (code, value) in options {
            body.extend([self.u16(*code), self.u16(value.len() as u16)].concat());
            body.extend_from_slice(value);
            body.resize(body.len().next_multiple_of(4), 0);
        }
        body.extend([0; 4]);
        self.block(1, &body)
    }
    fn enhanced(self, interface: u32, stamp: u64, original: u32, octets: &[u8]) -> Vec<u8> {
        let words = [interface, (stamp >> 32) as u32, stamp as u32, octets.len() as u32, original];
        self.block(6, &[&self.words(&words), octets].concat())
    }
}

/// A plain pcap with three frames.
fn plain(order: Order) -> Vec<u8> {
    [
        order.pcap(0xa1b2_c3d4, (2, 4), 1),
        order.record([1_700_000_000, 250_000, 3, 60], &[1, 2, 3]),
        order.record([1_700_000_000, 250_001, 0, 0], &[]),
        order.record([1_700_000_001, 0, 5, 4], &[4, 5, 6, 7, 8]),
    ]
    .concat()
}

fn plain_frames() -> Vec<Seen> {
    vec![
        seen(1_700_000_000_250_000_000, &[1, 2, 3], 60, 1, 0),
        seen(1_700_000_000_250_001_000, &[], 0, 1, 0),
        seen(1_700_000_001_000_000_000, &[4, 5, 6, 7, 8], 5, 1, 0),
    ]
}

/// Two sections of different byte order, with every kind of packet block.
fn sections() -> Vec<u8> {
    [
        LITTLE.section(),
        LITTLE.interface(1, 4, &[(2, b"eth0\0"), (9, &[9])]),
        LITTLE.interface(101, 0, &[(14, &10i64.to_le_bytes())]),
        LITTLE.enhanced(1, 5, 9, &[0x45]),
        LITTLE.block(0xbad, &[7; 9]),
        LITTLE.enhanced(0, 11_000_000_123, 2, &[1, 2]),
        LITTLE.block(3, &[&LITTLE.words(&[6])[..], &[1, 2, 3, 4]].concat()),
        BIG.section(),
        BIG.interface(113, 0, &[(2, b"any")]),
        BIG.block(2, &[&BIG.u16(0)[..], &BIG.u16(1), &BIG.words(&[0, 12_000_000, 3, 3]), &[8, 9, 10]].concat()),
    ]
    .concat()
}

fn sections_frames() -> Vec<Seen> {
    vec![
        seen(10_000_005_000, &[0x45], 9, 101, 1),
        seen(11_000_000_123, &[1, 2], 2, 1, 0),
        seen(11_000_000_123, &[1, 2, 3, 4], 6, 1, 0),
        seen(12_000_000_000, &[8, 9, 10], 3, 113, 2),
    ]
}

fn snoop() -> Vec<u8> {
    [
        b"snoop\0\0\0".to_vec(),
        BIG.words(&[2, 4]),
        BIG.words(&[60, 3, 28, 0, 900_000_000, 7]),
        vec![1, 2, 3, 0],
        BIG.words(&[2, 2, 26, 0, 900_000_001, 0]),
        vec![4, 5],
    ]
    .concat()
}

fn snoop_frames() -> Vec<Seen> {
    vec![seen(900_000_000_000_007_000, &[1, 2, 3], 60, 1, 0), seen(900_000_001_000_000_000, &[4, 5], 2, 1, 0)]
}

fn gzip(octets: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(octets).expect("in memory");
    encoder.finish().expect("in memory")
}

fn zstd(octets: &[u8]) -> Vec<u8> {
    zstd::encode_all(octets, 1).expect("in memory")
}

#[test]
fn pcap_in_both_byte_orders() {
    for order in [LITTLE, BIG] {
        assert_eq!(read(&plain(order)), (plain_frames(), vec![]));
    }
}

#[test]
fn pcap_variants() {
    for order in [LITTLE, BIG] {
        let check = |header: Vec<u8>, record: Vec<u8>, expect: Seen| {
            assert_eq!(read(&[header, record].concat()), (vec![expect], vec![]));
        };
        let frame = [9, 8];
        let nanos = order.record([1, 999_999_999, 2, 3], &frame);
        check(order.pcap(0xa1b2_3c4d, (2, 4), 101), nanos.clone(), seen(1_999_999_999, &frame, 3, 101, 0));
        // The frame check sequence's length is not part of the link type.
        check(order.pcap(0xa1b2_3c4d, (2, 4), 0x2400_0001), nanos.clone(), seen(1_999_999_999, &frame, 3, 1, 0));
        let extra = [order.pcap(0x1c00_01ac, (2, 4), 1), order.words(&[18])].concat();
        check(extra, nanos, seen(1_999_999_999, &frame, 3, 1, 0));
        let patched = [order.words(&[1, 5, 2, 3, 7, 0]), frame.to_vec()].concat();
        check(order.pcap(0xa1b2_cd34, (2, 4), 1), patched, seen(1_000_005_000, &frame, 3, 1, 0));
        for (version, lengths) in [((2, 2), [3, 2]), ((2, 3), [3, 2]), ((2, 3), [2, 3]), ((543, 0), [3, 2])] {
            let record = order.record([1, 5, lengths[0], lengths[1]], &frame);
            check(order.pcap(0xa1b2_c3d4, version, 1), record, seen(1_000_005_000, &frame, 3, 1, 0));
        }
    }
}

#[test]
fn the_latest_pcap_time_fits() {
    let capture = [LITTLE.pcap(0xa1b2_c3d4, (2, 4), 1), LITTLE.record([u32::MAX; 4], &[])].concat();
    let (frames, errors) = read(&capture);
    assert_eq!(frames, vec![]);
    assert!(errors[0].contains("a frame of 4294967295 octets"), "{errors:?}");
    let capture = [LITTLE.pcap(0xa1b2_c3d4, (2, 4), 1), LITTLE.record([u32::MAX, u32::MAX, 0, 0], &[])].concat();
    let at = u64::from(u32::MAX) * 1_000_000_000 + u64::from(u32::MAX) * 1000;
    assert_eq!(read(&capture).0, vec![seen(at, &[], 0, 1, 0)]);
}

#[test]
fn pcapng_sections_interfaces_and_blocks() {
    let mut replay = Replay::from_reader("a.pcapng", Cursor::new(sections()));
    assert_eq!(drain(&mut replay), (sections_frames(), vec![]));
    assert_eq!(names(&replay), ["eth0", "if1", "any"]);
}

#[test]
fn sections_that_describe_one_interface_again_have_one_point() {
    let one = [BIG.section(), BIG.interface(1, 0, &[(2, b"mon")]), BIG.enhanced(0, 1, 1, &[1])].concat();
    let mut replay = Replay::from_reader("a.pcapng", Cursor::new([one.clone(), one].concat()));
    let frame = seen(1000, &[1], 1, 1, 0);
    assert_eq!(drain(&mut replay), (vec![frame.clone(), frame], vec![]));
    assert_eq!(names(&replay), ["mon"]);
}

#[test]
fn snoop_records() {
    assert_eq!(read(&snoop()), (snoop_frames(), vec![]));
}

#[test]
fn compressed_captures() {
    let (head, tail) = (&sections()[..50], &sections()[50..]);
    assert_eq!(read(&gzip(&sections())), (sections_frames(), vec![]));
    assert_eq!(read(&[gzip(head), gzip(tail)].concat()), (sections_frames(), vec![]), "gzip members");
    assert_eq!(read(&[zstd(head), zstd(tail)].concat()), (sections_frames(), vec![]), "zstd frames");
    let skippable = [&[0x50, 0x2a, 0x4d, 0x18, 2, 0, 0, 0, 1, 2][..], &zstd(&snoop())].concat();
    assert_eq!(read(&skippable), (snoop_frames(), vec![]), "zstd after a skippable frame");
}

/// Whatever the cut, the whole frames come, then one error or a clean end.
#[test]
fn cut_at_every_octet() {
    for (capture, frames, ends) in [
        (plain(LITTLE), plain_frames(), vec![24, 43, 59]),
        (plain(BIG), plain_frames(), vec![24, 43, 59]),
        (snoop(), snoop_frames(), vec![16, 44]),
    ] {
        for cut in 1..capture.len() {
            let whole = ends.iter().filter(|&&end| end <= cut).count().saturating_sub(1);
            let (seen, errors) = read(&capture[..cut]);
            assert_eq!(seen, frames[..whole], "cut at {cut}");
            assert_eq!(errors.is_empty(), ends.contains(&cut), "cut at {cut}: {errors:?}");
        }
    }
    let capture = sections();
    let mut most = 0;
    for cut in 0..capture.len() {
        let (seen, errors) = read(&capture[..cut]);
        assert_eq!(seen, sections_frames()[..seen.len()], "cut at {cut}");
        assert!(seen.len() >= most && errors.len() <= 1, "cut at {cut}: {errors:?}");
        most = seen.len();
    }
    assert_eq!(most, 3);
}

#[test]
fn compressed_and_cut_at_every_octet() {
    for packed in [gzip(&sections()), zstd(&sections()), gzip(&plain(BIG)), zstd(&snoop())] {
        for cut in 0..packed.len() {
            let (_, errors) = read(&packed[..cut]);
            assert_eq!(errors.len(), 1, "cut at {cut}: {errors:?}");
        }
    }
}

/// One changed octet anywhere never panics, and never gives a frame longer than its wire length.
#[test]
fn damaged_at_every_octet() {
    for capture in [plain(LITTLE), sections(), snoop(), gzip(&sections()), zstd(&sections())] {
        for at in 0..capture.len() {
            for flip in [0x01, 0x80, 0xff] {
                let mut damaged = capture.clone();
                damaged[at] ^= flip;
                let (_, errors) = read(&damaged);
                assert!(errors.len() <= 1, "octet {at} ^ {flip:#x}: {errors:?}");
            }
        }
    }
}

/// A reader that gives few octets at a time.
struct Drip(Cursor<Vec<u8>>, usize);

impl Read for Drip {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = buffer.len().min(self.1);
        self.0.read(&mut buffer[..count])
    }
}

#[test]
fn any_reader_and_frames_larger_than_the_window() {
    for step in [1, 3, 64 << 10] {
        assert_eq!(drain(&mut Replay::from_reader("-", Drip(Cursor::new(sections()), step))), (sections_frames(), vec![]));
    }
    let longest = vec![5; limit::FRAME_OCTETS_MAX as usize];
    let length = limit::FRAME_OCTETS_MAX;
    let one = LITTLE.record([1, 0, length, length], &longest);
    let capture = [LITTLE.pcap(0xa1b2_c3d4, (2, 4), 1), one.clone(), one, LITTLE.record([2, 0, 1, 1], &[6])].concat();
    for step in [1000, 1 << 20] {
        let (frames, errors) = drain(&mut Replay::from_reader("-", Drip(Cursor::new(capture.clone()), step)));
        let (long, short) = (seen(1_000_000_000, &longest, length, 1, 0), seen(2_000_000_000, &[6], 1, 1, 0));
        assert!(frames == [long.clone(), long, short] && errors.is_empty(), "{errors:?}");
    }
}

#[test]
fn errors_name_file_place_and_next_step() {
    #[track_caller]
    fn check(capture: &[u8], frames: usize, expect: &str) {
        let (seen, errors) = read(capture);
        assert_eq!((seen.len(), errors), (frames, vec![expect.to_owned()]));
    }
    let advice = "capture or copy the file again if the rest is needed";
    check(
        &[&plain(LITTLE)[..], &LITTLE.record([0, 0, 262_145, 1], &[])].concat(),
        3,
        &format!(
            "a.pcap is damaged at octet 80: a frame of 262145 octets, more than the 262144 that there can be; frames before it \
             were read, {advice}"
        ),
    );
    check(
        &plain(LITTLE)[..79],
        2,
        "a.pcap is cut short: it ends within the record at octet 59; frames before it were read, copy the file again if the \
         rest is needed",
    );
    check(
        &LITTLE.pcap(0xa1b2_c3d4, (1, 9), 1),
        0,
        "a.pcap, octet 4: pcap version 1.9 is not supported; convert the file with `editcap -F pcapng`",
    );
    for (octets, found) in [(&b"path\tset\tlabel"[..], "it starts with 70 61 74 68"), (b"", "it is empty")] {
        check(
            octets,
            0,
            &format!(
                "a.pcap is not a capture file ({found}); known are pcap, pcapng and snoop, also compressed with gzip or zstd; \
                 what another tool can read, `editcap -F pcapng` converts"
            ),
        );
    }
    let section = LITTLE.section();
    check(
        &[&section[..], &LITTLE.enhanced(0, 1, 1, &[1])].concat(),
        0,
        &format!(
            "a.pcap is damaged at octet 28: a packet of interface 0, which its section does not describe; frames before it \
             were read, {advice}"
        ),
    );
    let mut lengths = [section, LITTLE.block(9, &[])].concat();
    lengths[36] = 16;
    check(
        &lengths,
        0,
        &format!(
            "a.pcap is damaged at octet 28: the block's two lengths differ (12 and 16); frames before it were read, {advice}"
        ),
    );
}

#[test]
fn paths_that_do_not_open() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let missing = folder.path().join("none.pcap");
    let error = Replay::open(std::slice::from_ref(&missing)).expect_err("missing");
    assert_eq!(error.to_string(), format!("{}: no such file; check the path", missing.display()));
    let error = Replay::open(&[missing, folder.path().into()]).expect_err("missing");
    assert!(matches!(error, ReplayError::Missing { .. }), "{error}");
    let error = Replay::open(&[folder.path().into()]).expect_err("a directory");
    assert!(matches!(error, ReplayError::Directory { .. }), "{error}");
    let error = Replay::open(&["-".into(), "-".into()]).expect_err("twice");
    assert!(matches!(error, ReplayError::StdinTwice), "{error}");
}

/// Frames of several files, each file a list of (seconds, octet).
fn files(folder: &Path, contents: &[&[(u32, u8)]]) -> Vec<PathBuf> {
    let write = |(index, frames): (usize, &&[(u32, u8)])| {
        let path = folder.join(format!("{index}.pcap"));
        let records = frames.iter().flat_map(|&(seconds, octet)| LITTLE.record([seconds, 0, 1, 1], &[octet]));
        let capture: Vec<u8> = LITTLE.pcap(0xa1b2_c3d4, (2, 4), 1).into_iter().chain(records).collect();
        let capture = if index % 2 == 1 { gzip(&capture) } else { capture };
        std::fs::write(&path, capture).expect("a temporary file");
        path
    };
    contents.iter().enumerate().map(write).collect()
}

#[test]
fn several_files_in_time_order() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    // Of equal times the file named first goes first, and within a file the order stays, even where its clock steps back.
    let paths = files(folder.path(), &[&[(5, 1), (7, 2), (9, 3)], &[(1, 4), (7, 5), (2, 6), (8, 7)], &[], &[(7, 8)]]);
    let mut replay = Replay::open(&paths).expect("files");
    let (frames, errors) = drain(&mut replay);
    let order: Vec<_> = frames.iter().map(|frame| (frame.at / 1_000_000_000, frame.octets[0])).collect();
    assert_eq!(order, [(1, 4), (5, 1), (7, 2), (7, 5), (2, 6), (7, 8), (8, 7), (9, 3)]);
    assert_eq!(errors, Vec::<String>::new());
    let by_file = |octet: u8| frames.iter().find(|frame| frame.octets == [octet]).map(|frame| frame.interface);
    assert!(by_file(1) != by_file(4) && by_file(4) != by_file(8) && by_file(1) == by_file(3));
    assert_eq!(names(&replay), ["if0", "if0", "if0", "if0"]);
    let progress = replay.progress();
    assert_eq!(Some(progress.octets_read()), progress.octets_total());
}

#[test]
fn a_fault_ends_its_file_only() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut paths = files(folder.path(), &[&[(5, 1), (6, 2)], &[(5, 3), (9, 4)], &[(6, 5), (9, 6)]]);
    let cut = std::fs::read(&paths[2]).expect("the file");
    std::fs::write(&paths[2], &cut[..cut.len() - 1]).expect("the file");
    let text = folder.path().join("notes.txt");
    std::fs::write(&text, "none").expect("a file");
    paths.push(text);
    let (frames, errors) = drain(&mut Replay::open(&paths).expect("files"));
    let order: Vec<_> = frames.iter().map(|frame| frame.octets[0]).collect();
    assert_eq!(order, [1, 3, 2, 5, 4]);
    assert!(errors[0].contains("notes.txt is not a capture file") && errors[1].contains("2.pcap is cut short"), "{errors:?}");
    assert_eq!(errors.len(), 2);
}

#[test]
fn progress_counts_stored_octets() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("a");
    let packed = gzip(&plain(LITTLE));
    std::fs::write(&path, &packed).expect("a file");
    let mut replay = Replay::open(&[path]).expect("the file");
    let progress = replay.progress();
    assert_eq!((progress.octets_read(), progress.octets_total()), (0, Some(packed.len() as u64)));
    assert_eq!(drain(&mut replay).0.len(), 3);
    assert_eq!(progress.octets_read(), packed.len() as u64);
    assert_eq!(Replay::from_reader("-", Cursor::new(plain(LITTLE))).progress().octets_total(), None);
}
