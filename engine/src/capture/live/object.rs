//! The kernel object and settings to loaded maps and programs with one mapped ring per CPU.

use std::{error::Error, io, os::fd::AsFd as _};

use auscult_ebpf::{
    record::octets_of,
    settings::{FLAG_CLOCK_PER_POLL, Settings},
};
use aya::{
    Ebpf, EbpfLoader,
    maps::{ArrayOfMaps, MapData},
    programs::{Program, ProgramError, RawTracePoint, Xdp},
};

use super::{
    error::LiveError,
    pin::{MAPS, SHARED, TapPins},
    ring::{self, RingMemory},
};

/// The tap object that this engine was built with.
pub static OBJECT: &[u8] = aya::include_bytes_aligned!("../../../../engine-ebpf/object/auscult-tap.bpf.o");

/// Longest reason that is passed on; a verifier log is far longer.
const REASON_CHARS: usize = 400;

/// The tap object, loaded for one interface but not attached.
#[derive(Debug)]
pub(super) struct TapObject {
    pub(super) ebpf: Ebpf,
    /// One per CPU, in the order of the CPUs asked for.
    pub(super) rings: Vec<RingMemory>,
    /// The maps are those of an engine before this one.
    pub(super) adopted: bool,
}

/// Loads `object` for the interface `name` with a ring of `ring_bytes` for each of `cpus`; with `pins`, its maps are those that are
/// pinned there, or will be.
pub(super) fn load(
    object: &[u8],
    name: &str,
    meter: &Settings,
    cpus: &[u32],
    ring_bytes: u32,
    pins: Option<&TapPins>,
) -> Result<TapObject, LiveError> {
    let refused = |part: &str, error: &dyn Error| LiveError::Object {
        name: name.to_owned(),
        part: part.to_owned(),
        reason: one_line(error),
    };
    let meter = &Settings { ring_octets: ring_bytes, ..*meter };
    let adopted = pins.is_some_and(TapPins::whole);
    let mut loader = EbpfLoader::new();
    loader
        .override_global("SETTINGS", octets_of(meter), true)
        .map_max_entries("SETS", meter.sets_mask + 1)
        .map_max_entries("RINGS", rings_entries(cpus));
    if let Some(pins) = pins {
        if !adopted {
            pins.remove();
        }
        pins.make().map_err(|error| refused("pins", &error))?;
        for map in MAPS.into_iter().chain(SHARED) {
            loader.map_pin_path(map, pins.map(map));
        }
    }
    let mut ebpf = loader.load(object).map_err(|error| refused("maps", &error))?;
    let rings = make_rings(&mut ebpf, name, cpus, ring_bytes, pins)?;
    let sweep = xdp(&mut ebpf, "sweep").map_err(|reason| LiveError::Object {
        name: name.to_owned(),
        part: "program sweep".to_owned(),
        reason,
    })?;
    sweep.load().map_err(|error| refused("program sweep", &error))?;
    if meter.has(FLAG_CLOCK_PER_POLL) {
        let poll = ebpf.program_mut("napi_poll").ok_or_else(|| missing(name, "program napi_poll"))?;
        start_poll_clock(poll).map_err(|error| refused("program napi_poll", &error))?;
    }
    Ok(TapObject { ebpf, rings, adopted })
}

/// Entries of the map of rings for `cpus`.
pub(super) fn rings_entries(cpus: &[u32]) -> u32 {
    cpus.iter().max().map_or(1, |cpu| cpu + 1)
}

fn make_rings(
    ebpf: &mut Ebpf,
    name: &str,
    cpus: &[u32],
    ring_bytes: u32,
    pins: Option<&TapPins>,
) -> Result<Vec<RingMemory>, LiveError> {
    let refused =
        |error: &dyn Error| LiveError::Object { name: name.to_owned(), part: "map RINGS".to_owned(), reason: one_line(error) };
    let outer = ebpf.map_mut("RINGS").ok_or_else(|| missing(name, "map RINGS"))?;
    let mut outer: ArrayOfMaps<_, MapData> = ArrayOfMaps::try_from(outer).map_err(|error| refused(&error))?;
    let mut rings = Vec::with_capacity(cpus.len());
    for &cpu in cpus {
        let no_ring = |source: io::Error| LiveError::Ring { cpu, octets: ring_bytes, source };
        let pin = pins.map(|pins| pins.ring(cpu));
        let inner = match pin.as_deref().and_then(|path| MapData::from_pin(path).ok()) {
            Some(pinned) => pinned,
            None => {
                let made = MapData::from_fd(ring::create(ring_bytes).map_err(no_ring)?).map_err(|error| refused(&error))?;
                pin.map_or(Ok(()), |path| made.pin(path)).map_err(|error| refused(&error))?;
                made
            }
        };
        rings.push(RingMemory::map(inner.fd().as_fd(), ring_bytes).map_err(no_ring)?);
        outer.set(cpu, &inner, 0).map_err(|error| refused(&error))?;
    }
    Ok(rings)
}

/// Lets the kernel say when a NAPI poll ends. The link lives in the program and ends with it.
fn start_poll_clock(program: &mut Program) -> Result<(), ProgramError> {
    let program: &mut RawTracePoint = program.try_into()?;
    program.load()?;
    program.attach("napi_poll").map(drop)
}

/// The XDP program `name`, to be loaded or attached.
pub(super) fn xdp<'a>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut Xdp, String> {
    let program = ebpf.program_mut(name).ok_or_else(|| format!("the object has no program {name}"))?;
    program.try_into().map_err(|error: ProgramError| one_line(&error))
}

fn missing(name: &str, part: &str) -> LiveError {
    LiveError::Object { name: name.to_owned(), part: part.to_owned(), reason: "the object lacks it".to_owned() }
}

/// An error and its causes in one line of bounded length.
pub(super) fn one_line(error: &dyn Error) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        if !line.contains(&text) {
            line.push_str(": ");
            line.push_str(&text);
        }
        cause = error.source();
    }
    // Of a verifier log the end says why.
    let line = line.split_whitespace().collect::<Vec<_>>().join(" ");
    let chars = line.chars().count();
    if chars <= REASON_CHARS {
        return line;
    }
    let head: String = line.chars().take(REASON_CHARS / 4).collect();
    let tail: String = line.chars().skip(chars - REASON_CHARS * 3 / 4).collect();
    format!("{head} … {tail}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{0}")]
    struct Outer(String, #[source] io::Error);

    #[test]
    fn reasons_are_one_bounded_line() {
        let error = Outer("cannot\n attach".to_owned(), io::Error::from_raw_os_error(libc::EBUSY));
        assert_eq!(one_line(&error), "cannot attach: Device or resource busy (os error 16)");
        let long = one_line(&Outer("x".repeat(10_000), io::Error::other("the end")));
        assert_eq!(long.chars().count(), REASON_CHARS + 3);
        assert!(long.ends_with("xx: the end"), "{long}");
    }
}
