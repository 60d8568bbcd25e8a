//! First inputs of the fuzz targets, made from the scene's frames and from what the product itself writes.

use std::io::Write;

use auscult::{
    config::key::config_table,
    lake::TableName,
    scene::{Scene, SceneFrame, SceneSize},
};

use super::{
    books, dissect,
    lake::{footer, written},
};
use crate::golden::{self, Case};

/// Name and octets of one input.
pub type Seed = (String, Vec<u8>);

/// The first inputs of a target; none for a name that is no target's.
pub fn seeds(target: &str) -> Vec<Seed> {
    match target {
        "frame_meter" => frame_meter(),
        "sampler" => sampler(),
        "ring_records" => ring_records(),
        "capture_reader" => captures().into_iter().filter(|(name, _)| !name.contains('-')).collect(),
        "capture_written" => capture_written(),
        "capture_gzip_zstd" => packed(),
        "delta_biflow" => delta_biflow(),
        "config_toml" => config_toml(),
        "dissect" => dissect::seeds(),
        "lake_files" => lake_files(),
        "books_json" => books_json(),
        _ => Vec::new(),
    }
}

/// One frame of each of many sorts, by length of what the frame starts with: link type, network and transport protocol.
pub(super) fn sorts() -> Vec<SceneFrame> {
    let mut met = std::collections::BTreeSet::new();
    let sort = |octets: &[u8]| {
        let ip = match octets.get(12..14) {
            Some([0x08, 0x00]) => 14,
            Some([0x81, 0x00]) => 18,
            _ => 22,
        };
        let part = |at: usize| octets.get(at).copied().unwrap_or_default();
        (octets.get(12..14).map(<[u8]>::to_vec), part(ip + 9), part(ip + 20) == 0, part(ip + 6))
    };
    let frames = Scene::new(7, SceneSize::SHORT).frames();
    frames.filter(|frame| frame.octets.len() < 300 && met.insert(sort(&frame.octets))).take(28).collect()
}

fn step(link: u8, step: u8, wire: u8, octets: &[u8]) -> Vec<u8> {
    let mut out = vec![link, step, wire];
    out.extend((octets.len() as u16).to_le_bytes());
    out.extend(octets);
    out
}

fn frame_meter() -> Vec<Seed> {
    let frames = sorts();
    let mut seeds = encapsulated();
    for (n, group) in frames.chunks(4).enumerate() {
        let mut input = vec![[0x0d, 0x90, 0x46, 0x1f][n % 4], n as u8 % 3];
        group.iter().for_each(|frame| input.extend(step(0, 3 + n as u8 % 8, 0, &frame.octets)));
        // Once more, reversed in time order, so that flows have a second packet.
        group.iter().rev().for_each(|frame| input.extend(step(0, 0x14, 1, &frame.octets)));
        seeds.push((format!("scene{n:02}"), input));
    }
    if let Some(frame) = frames.iter().find(|frame| frame.octets.get(12..14) == Some(&[8, 0])) {
        let ip = &frame.octets[14..];
        let mut input = vec![0x05, 0];
        input.extend(step(2, 2, 0, ip));
        let cooked = [&[0, 0, 0, 1, 0, 6, 2, 0, 0, 0, 0, 9, 0, 0, 8, 0][..], ip].concat();
        input.extend(step(3, 8, 0, &cooked));
        let cooked = [&[8, 0, 0, 0, 0, 0, 0, 3, 0, 1, 4, 6, 2, 0, 0, 0, 0, 9, 0, 0][..], ip].concat();
        input.extend(step(4, 8, 0x85, &cooked));
        input.extend(step(7, 8, 0xff, &[&[0, 0, 0, 2][..], ip].concat()));
        input.extend(step(9, 8, 0, ip));
        seeds.push(("links".into(), input));
    }
    seeds
}

/// Encapsulations, sound and odd: some cases of each input, their frames twice (a second time they are copies).
fn encapsulated() -> Vec<Seed> {
    let cases: Vec<_> = golden::sound().into_iter().step_by(5).chain(golden::odd().into_iter().step_by(2)).collect();
    let some = |(n, cases): (usize, &[Case])| {
        let mut input = vec![[0x0d, 0x1f, 0x90][n % 3], [0, 0x50, 0x93, 0xe0][n % 4]];
        for frame in cases.iter().flat_map(|case| case.frames.iter().take(2)) {
            let more = ((frame.wire - frame.octets.len()) / 16).min(0x7f) as u8;
            input.extend(step(0, 3, more, &frame.octets));
            input.extend(step(0, 2, more, &frame.octets));
        }
        (format!("tunnels{n:02}"), input)
    };
    cases.chunks(4).enumerate().map(some).filter(|(_, input)| input.len() <= 4096).collect()
}

/// Conversations of every class: opened, then with payloads of growing length, either way.
fn sampler() -> Vec<Seed> {
    let mut seeds = Vec::new();
    for sort in 0..16u8 {
        let how = [3, 0x13, 0x0a, 7][usize::from(sort & 3)];
        let mut input = vec![how];
        if how & 8 != 0 {
            input.extend([5, 6, 2, 3, 4, 3, 4, 3]);
        }
        // SYN, SYN/ACK, then data with ACK.
        input.extend([sort, 4, 3, 0, 0, 0]);
        input.extend([sort, 13, 3, 0, 0, 0]);
        for n in 0..8u8 {
            let length = (u16::from(n) * 250 + 3).to_le_bytes();
            input.extend([sort, 8 | n & 3, 3 + n % 4, n & 3 | n << 4]);
            input.extend(length);
            // Another sort in between, so that shares meet.
            input.extend([(sort + n) % 16, 4, 0x10, 4, 40, 0, 9, 0]);
        }
        seeds.push((format!("sort{sort:02}"), input));
    }
    seeds
}

fn ring_records() -> Vec<Seed> {
    let mut seeds = Vec::new();
    for how in 0..16u8 {
        let mut input = vec![how];
        for n in 0..10u8 {
            input.extend([0, 1, 0, 2, 0, n, 100, 0, 0, 0, 60, 0, 0, 0]);
            input.extend([1, n, 0, 0, 0]);
            input.extend([2, n & 7, 3, 0]);
            input.extend(*b"abc");
            input.extend([3, n, 0]);
            match (how + n) % 4 {
                0 => input.extend([0x18 | 4, 5, 1, 2, 3, 4, 5]),
                1 => input.extend([0xe0, 1, 0, 1, 0, n, 1, 0, 0, 0, 1, 0, 0, 0, n, 0, 9]),
                2 => input.extend([0xc2, n, 2, 0, 1, 2, 97, 0]),
                _ => input.extend([0x14, 3, 9, 9, 9, 5]),
            }
            input.push(0x0f + (n << 3 & 0x70));
        }
        if how & 1 != 0 {
            input.extend([4, 1, 7, 0xfe, if how & 2 != 0 { 0xf0 } else { 4 }, 0, 0, how & 4, 0xff]);
        }
        seeds.push((format!("records{how:02}"), input));
    }
    seeds
}

/// Captures of every format, with every kind of block and option.
fn capture_written() -> Vec<Seed> {
    let mut seeds = Vec::new();
    for how in 0..16u8 {
        let mut input = vec![how];
        match how & 7 {
            0..=4 => input.extend([how & 3, 4 - how % 5]),
            5 => input.extend([how, how >> 3]),
            _ => {
                input.extend([how, 40, 0xf4, 9]);
                input.extend([how; 8]);
                input.extend([5, 116, 97, 112, 0, 49, 48, 0x11, 0x89]);
            }
        }
        for n in 0..6u8 {
            let block = [96, 170, 200, 224 + n, 40, 96][usize::from(n)];
            if how & 7 > 5 {
                input.push(block);
            }
            input.extend([n; 8]);
            input.extend([6, n, 1, 2, 3, 4, 5, 6]);
        }
        seeds.push((format!("written{how:02}"), input));
    }
    seeds
}

/// The files that the product writes, and changes to them: in pages, in the footer, at the end.
fn lake_files() -> Vec<Seed> {
    let mut seeds = vec![("empty".into(), Vec::new()), ("magic_alone".into(), b"\0PAR1\0\0\0\0PAR1".to_vec())];
    for (how, table) in [(2, TableName::Flows), (3, TableName::Coverage)] {
        let file = &written(table).octets;
        seeds.push((format!("{}_unchanged", table.name()), vec![how]));
        let footer = file.len() - footer(file);
        for n in 0..6 {
            let behind = footer * n / 6;
            let change =
                |place: usize, last: u8, value: u8| [(place >> 16) as u8 * 2 + last, (place >> 8) as u8, place as u8, value];
            let changes = [change(behind, 1, 7), change(behind + 9, 1, 0x15)].concat();
            seeds.push((format!("{}_footer{n}", table.name()), [&[how][..], &changes].concat()));
            let page = change(4 + (file.len() - footer) * n / 7, 0, 0xff);
            seeds.push((format!("{}_page{n}", table.name()), [&[how][..], &page].concat()));
        }
    }
    seeds
}

fn books_json() -> Vec<Seed> {
    let mut seeds: Vec<Seed> = vec![("empty".into(), Vec::new()), ("object".into(), b"{}".to_vec())];
    for (n, books) in books::written().into_iter().enumerate() {
        seeds.push((format!("books{n}_cut"), books[..books.len() / 2].to_vec()));
        seeds.push((format!("books{n}"), books));
    }
    seeds
}

/// Small capture files of every format, and (with a dash in the name) packed ones.
fn captures() -> Vec<Seed> {
    let frames: Vec<_> = sorts().into_iter().filter(|frame| frame.octets.len() < 120).take(3).collect();
    let mut seeds = Vec::new();
    for (name, magic) in [("micro", 0xa1b2_c3d4_u32), ("nano", 0xa1b2_3c4d), ("patched", 0xa1b2_cd34)] {
        let extra: &[u8] = if name == "patched" { &[0; 8] } else { &[] };
        let little = pcap(magic, &frames, extra, |value| value.to_le_bytes());
        seeds.push((format!("{name}_cut"), little[..little.len() - 9].to_vec()));
        seeds.push((format!("{name}_little"), little));
        seeds.push((format!("{name}_big"), pcap(magic, &frames, extra, |value| value.to_be_bytes())));
    }
    let ng = pcapng(&frames);
    seeds.push(("pcapng_cut".into(), ng[..ng.len() - 30].to_vec()));
    seeds.push(("pcapng_twice".into(), [ng.clone(), ng.clone()].concat()));
    seeds.push(("pcapng".into(), ng));
    seeds.push(("snoop".into(), snoop(&frames)));
    seeds.push(("empty".into(), Vec::new()));
    seeds
}

fn pcap(magic: u32, frames: &[SceneFrame], extra: &[u8], word: fn(u32) -> [u8; 4]) -> Vec<u8> {
    let two = |a: u16, b: u16| {
        let swapped = word(1) == [0, 0, 0, 1];
        let [a, b] = if swapped { [a.to_be_bytes(), b.to_be_bytes()] } else { [a.to_le_bytes(), b.to_le_bytes()] };
        [a, b].concat()
    };
    let mut out = [&word(magic)[..], &two(2, 4), &[0; 8], &word(65_535), &word(1)].concat();
    for frame in frames {
        let length = word(frame.octets.len() as u32);
        out.extend([&word(1_767_600_000)[..], &word(17), &length, &length, extra, &frame.octets].concat());
    }
    out
}

fn block(kind: u32, body: &[u8]) -> Vec<u8> {
    let padded = body.len().next_multiple_of(4);
    let total = (padded as u32 + 12).to_le_bytes();
    [&kind.to_le_bytes()[..], &total, body, &vec![0; padded - body.len()], &total].concat()
}

fn pcapng(frames: &[SceneFrame]) -> Vec<u8> {
    let mut out = block(0x0a0d_0d0a, &[0x4d, 0x3c, 0x2b, 0x1a, 1, 0, 0, 0, 255, 255, 255, 255, 255, 255, 255, 255]);
    out.extend(block(1, b"\x01\0\0\0\0\0\x04\0\x02\0\x04\0tap0\x09\0\x01\0\x09\0\0\0\x0e\0\x08\0\x02\0\0\0\0\0\0\0\0\0\0\0"));
    out.extend(block(1, b"\x71\0\0\0\0\0\0\0"));
    for (n, frame) in frames.iter().enumerate() {
        let length = (frame.octets.len() as u32).to_le_bytes();
        let head = [(n as u32 & 1).to_le_bytes(), 411_000_000_u32.to_le_bytes(), 7_u32.to_le_bytes(), length, length].concat();
        out.extend(block(6, &[head, frame.octets.clone()].concat()));
        out.extend(block(3, &[&length[..], &frame.octets].concat()));
        // A name resolution block, which is passed over.
        out.extend(block(4, &[0; 4]));
    }
    out
}

fn snoop(frames: &[SceneFrame]) -> Vec<u8> {
    let mut out = b"snoop\0\0\0\0\0\0\x02\0\0\0\x04".to_vec();
    for frame in frames {
        let length = frame.octets.len() as u32;
        let padded = length.next_multiple_of(4);
        for value in [length, length, 24 + padded, 0, 1_767_600_000, 17] {
            out.extend(value.to_be_bytes());
        }
        out.extend(&frame.octets);
        out.resize(out.len() + (padded - length) as usize, 0);
    }
    out
}

fn packed() -> Vec<Seed> {
    let mut seeds = Vec::new();
    for (name, capture) in captures().into_iter().filter(|(name, _)| !name.starts_with("patched") && !name.ends_with("cut")) {
        for how in [1, 2, 3, 0x17, 0x29, 0x6a] {
            seeds.push((format!("{name}_{how:02x}"), [&[how][..], &capture].concat()));
        }
    }
    seeds.truncate(24);
    let (_, capture) = captures().swap_remove(1);
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    let gzip = gzip.write_all(&capture).and_then(|()| gzip.finish()).expect("memory takes everything");
    seeds.push(("stored_gzip".into(), [&[0][..], &gzip].concat()));
    let zstd = zstd::bulk::compress(&capture, 19).expect("zstd packs anything");
    seeds.push(("stored_zstd".into(), [&[0][..], &zstd].concat()));
    seeds
}

fn delta_biflow() -> Vec<Seed> {
    let mut seeds = Vec::new();
    for how in 0..12u8 {
        let mut input = vec![how.wrapping_mul(21), how.wrapping_mul(37)];
        for n in 0..12u8 {
            // A delta, now and then time or a Mark.
            input.extend([n << 5 | (how & 3) << 3, how & 0x3f, n & 0x3f, 0, n, 1 + n % 3, 0, 1, 64 + n, 0]);
            input.extend([n.wrapping_mul(how); 56]);
            input.extend([n & 1, 3, 0, 0, 1, 80, 0]);
            input.extend([n; 56]);
            input.extend([6, 8 + n % 6, 5 | (n & 3) << 3]);
            if how & 4 != 0 {
                input.extend([4, n]);
                input.extend((0..200u8).map(|octet| octet.wrapping_mul(n | 1)));
            }
        }
        seeds.push((format!("mix{how:02}"), input));
    }
    seeds
}

fn config_toml() -> Vec<Seed> {
    let texts = [
        "site = \"ward-7\"\ninterfaces = [\"tap0\", \"tap1\"]\ndata_directory = \"data\"\nlisten = \"127.0.0.1:9477\"\n",
        "[biflow]\nidle_timeout_secs = 60\nactive_timeout_secs = 600\nmax_flows = 5000\nshards = 2\n",
        "[biflow]\nshards = \"auto\"\nidle_timout_secs = 5\n",
        "[meter]\nclock = \"exact\"\nsets = 2048\nvlan_in_key = true\ndedicated = true\ndisposition = \"drop\"\nhook = \"auto\"\nring_bytes = 16_777_216\nmark_millis = 400\n",
        "[samples]\nenabled = false\nclinical_octets_per_tick = 0x100\n[lake]\nrotate_rows = 1\nzstd_level = -1\n",
        "[log]\nlevel = \"info\"\nformat = \"json\"\n",
        "biflow = 3\nmeter.sets = 3\nlake = { rotate_secs = 1 }\n[[samples]]\n",
        "site = \"a\nb\"\n\"\\u0000\" = 1979-05-27T07:32:00Z\n",
        "site = \"\"\0Site\x003\0off\0debug",
        "\0a\0auto\0[::1]:0\0trace",
    ];
    let mut seeds: Vec<Seed> =
        texts.iter().enumerate().map(|(n, text)| (format!("text{n:02}"), text.as_bytes().to_vec())).collect();
    let table = config_table();
    let keys: String = table.lines().filter_map(|line| line.split('`').nth(1)).map(|key| format!("{key} = 1\n")).collect();
    seeds.push(("all_keys".into(), keys.into_bytes()));
    seeds
}
