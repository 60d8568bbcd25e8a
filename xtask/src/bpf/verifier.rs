//! What the running kernel's verifier says about each program of an object: instructions verified, stack used.
//!
//! aya makes the maps and loads the programs, and the kernel tells how many instructions it verified. The stack is told in the
//! verifier's log only, which aya drops on success, so each program is then loaded once more by hand, on the same maps.

use std::collections::HashSet;
use std::fmt;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use anyhow::{Context, Result, bail};
use aya::maps::Map;
use aya::programs::Program;
use aya_obj::generated::{bpf_attr, bpf_cmd, bpf_prog_type};
use aya_obj::{Object, ProgramSection};

/// Statistics only: the verifier's own summary, not its every step.
const LOG_STATISTICS: u32 = 4;
/// More than any summary takes.
const LOG_BYTES: usize = 64 * 1024;
/// `BPF_F_XDP_HAS_FRAGS`: the program copes with frames in several buffers.
const XDP_HAS_FRAGS: u32 = 1 << 5;

/// What a program took.
pub struct Verified {
    name: String,
    /// As loaded, with the functions it calls.
    instructions: usize,
    /// Visited by the verifier, over all paths.
    verified: Option<u32>,
    /// The verifier's words, such as `136+0`: of the program and of each function.
    stack: Option<String>,
}

impl fmt::Display for Verified {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {} instructions", self.name, self.instructions)?;
        match self.verified {
            Some(verified) => write!(formatter, ", {verified} verified")?,
            None => write!(formatter, ", verified: this kernel does not tell")?,
        }
        match &self.stack {
            Some(stack) => write!(formatter, ", stack {stack} bytes"),
            None => write!(formatter, ", stack: this kernel does not tell"),
        }
    }
}

/// Loads every program of an object and asks the verifier about it. Needs root; leaves nothing behind.
pub fn verify(bytes: &[u8]) -> Result<Vec<Verified>> {
    let mut ebpf = aya::EbpfLoader::new().load(bytes).context("the kernel does not take the object's maps")?;
    let mut counts = Vec::new();
    for (name, program) in ebpf.programs_mut() {
        counts.push((name.to_owned(), load(name, program)?));
    }
    let mut object = Object::parse(bytes).context("aya cannot read the object")?;
    let types = load_types(&mut object)?;
    let mut maps = Vec::new();
    for (name, map) in ebpf.maps() {
        let parsed = object.maps.get(name).with_context(|| format!("no map `{name}` in the object"))?;
        maps.push((name.to_owned(), descriptor(name, map)?, parsed.clone()));
    }
    let sections: HashSet<_> = object.functions.keys().map(|(section, _)| *section).collect();
    object.relocate_maps(maps.iter().map(|(name, fd, map)| (name.as_str(), *fd, map)), &sections)?;
    object.relocate_calls(&sections)?;
    let mut programs = Vec::new();
    for (name, verified) in counts {
        let program = object.programs.get(&name).with_context(|| format!("no program `{name}` in the object"))?;
        let function = object.functions.get(&program.function_key()).with_context(|| format!("no code for `{name}`"))?;
        let log =
            load_by_hand(&object, types.as_ref(), program, function).with_context(|| format!("cannot load `{name}` by hand"))?;
        let stack = log.as_deref().and_then(stack_of);
        programs.push(Verified { name, instructions: function.instructions.len(), verified, stack });
    }
    programs.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(programs)
}

/// Loads a program with aya; the number of instructions verified, where the kernel tells.
fn load(name: &str, program: &mut Program) -> Result<Option<u32>> {
    let context = || format!("the verifier does not take `{name}`");
    let loaded = match program {
        Program::Xdp(program) => program.load().and_then(|()| program.info()),
        Program::SchedClassifier(program) => program.load().and_then(|()| program.info()),
        Program::SocketFilter(program) => program.load().and_then(|()| program.info()),
        Program::RawTracePoint(program) => program.load().and_then(|()| program.info()),
        other => bail!("`{name}` is of the kind {:?}, which nothing here loads", other.prog_type()),
    };
    Ok(loaded.with_context(context)?.verified_instruction_count())
}

/// Gives the kernel the object's BTF, without which it takes no program with callbacks.
fn load_types(object: &mut Object) -> Result<Option<OwnedFd>> {
    let Some(features) = aya::features().btf() else { return Ok(None) };
    let Some(btf) = object.fixup_and_sanitize_btf(features)? else { return Ok(None) };
    let bytes = btf.to_bytes();
    // SAFETY: zeros are a valid `bpf_attr`: every member of it is made of integers.
    let mut attributes: bpf_attr = unsafe { std::mem::zeroed() };
    // SAFETY: `BPF_BTF_LOAD` reads this member of the union, and all of it was zeroed.
    let load = unsafe { &mut attributes.__bindgen_anon_7 };
    load.btf = bytes.as_ptr() as u64;
    load.btf_size = u32::try_from(bytes.len())?;
    // SAFETY: the attributes point to octets that outlive the call, with their length.
    unsafe { call(bpf_cmd::BPF_BTF_LOAD, &mut attributes) }.map(Some).context("the kernel does not take the object's BTF")
}

/// Loads a program on maps that exist already; the verifier's log. `None` for a kind that this cannot load.
fn load_by_hand(
    object: &Object,
    types: Option<&OwnedFd>,
    program: &aya_obj::Program,
    function: &aya_obj::Function,
) -> Result<Option<String>> {
    let (kind, flags) = match &program.section {
        ProgramSection::Xdp { frags, .. } => (bpf_prog_type::BPF_PROG_TYPE_XDP, if *frags { XDP_HAS_FRAGS } else { 0 }),
        ProgramSection::SchedClassifier => (bpf_prog_type::BPF_PROG_TYPE_SCHED_CLS, 0),
        ProgramSection::SocketFilter => (bpf_prog_type::BPF_PROG_TYPE_SOCKET_FILTER, 0),
        ProgramSection::RawTracePoint => (bpf_prog_type::BPF_PROG_TYPE_RAW_TRACEPOINT, 0),
        _ => return Ok(None),
    };
    let mut log = vec![0_u8; LOG_BYTES];
    let functions = function.func_info.func_info_bytes();
    // SAFETY: zeros are a valid `bpf_attr`: every member of it is made of integers.
    let mut attributes: bpf_attr = unsafe { std::mem::zeroed() };
    // SAFETY: `BPF_PROG_LOAD` reads this member of the union, and all of it was zeroed.
    let load = unsafe { &mut attributes.__bindgen_anon_3 };
    load.prog_type = kind as u32;
    load.prog_flags = flags;
    load.insns = function.instructions.as_ptr() as u64;
    load.insn_cnt = u32::try_from(function.instructions.len())?;
    load.license = object.license.as_ptr() as u64;
    load.log_level = LOG_STATISTICS;
    load.log_buf = log.as_mut_ptr() as u64;
    load.log_size = u32::try_from(log.len())?;
    if let Some(types) = types {
        load.prog_btf_fd = types.as_raw_fd().cast_unsigned();
        load.func_info = functions.as_ptr() as u64;
        load.func_info_cnt = u32::try_from(function.func_info.len())?;
        load.func_info_rec_size = u32::try_from(function.func_info_rec_size)?;
    }
    // SAFETY: instructions, licence, function records and log outlive the call, and their lengths are told to the kernel.
    let loaded = unsafe { call(bpf_cmd::BPF_PROG_LOAD, &mut attributes) };
    let text = String::from_utf8_lossy(&log).trim_end_matches('\0').to_owned();
    loaded.with_context(|| text.trim().to_owned())?;
    Ok(Some(text))
}

/// The system call `bpf`, for commands that give a descriptor.
///
/// # Safety
/// What the attributes point to lives for the call and has the lengths they tell; the command gives a new descriptor.
unsafe fn call(command: bpf_cmd, attributes: &mut bpf_attr) -> Result<OwnedFd> {
    // SAFETY: the caller's promise; size and pointer are those of the attributes.
    let fd = unsafe { libc::syscall(libc::SYS_bpf, command as libc::c_long, &raw mut *attributes, size_of::<bpf_attr>()) };
    if fd < 0 {
        bail!(std::io::Error::last_os_error());
    }
    // SAFETY: the kernel just gave us this descriptor; nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(RawFd::try_from(fd)?) })
}

/// What the verifier's log says about the stack.
fn stack_of(log: &str) -> Option<String> {
    log.lines().find_map(|line| line.trim().strip_prefix("stack depth ")).map(str::to_owned)
}

fn descriptor(name: &str, map: &Map) -> Result<RawFd> {
    let map = match map {
        Map::Array(map)
        | Map::ArrayOfMaps(map)
        | Map::BloomFilter(map)
        | Map::CpuMap(map)
        | Map::DevMap(map)
        | Map::DevMapHash(map)
        | Map::HashMap(map)
        | Map::HashOfMaps(map)
        | Map::LpmTrie(map)
        | Map::LruHashMap(map)
        | Map::PerCpuArray(map)
        | Map::PerCpuHashMap(map)
        | Map::PerCpuLruHashMap(map)
        | Map::PerfEventArray(map)
        | Map::ProgramArray(map)
        | Map::Queue(map)
        | Map::RingBuf(map)
        | Map::Stack(map)
        | Map::XskMap(map)
        | Map::Unsupported(map) => map,
        _ => bail!("the map `{name}` is of a kind that nothing here loads"),
    };
    use std::os::fd::AsFd;
    Ok(map.fd().as_fd().as_raw_fd())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stack_is_read_from_the_log() {
        let log = "verification time 95 usec\nstack depth 136+0\nprocessed 25 insns (limit 1000000) max_states_per_insn 0\n";
        assert_eq!(stack_of(log).as_deref(), Some("136+0"));
        assert_eq!(stack_of("verification time 95 usec\n"), None);
    }
}
