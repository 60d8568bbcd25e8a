//! The most memory that an engine holds, by part, from its configuration.

use std::path::PathBuf;

use auscult_ebpf::record::{Delta, SampleHead};

use super::{PipelineError, biflow_settings, lake_settings};
use crate::{
    biflow,
    capture::{live, native, replay},
    config::Config,
    dissect,
    flow::Flow,
    identify, lake,
    ledger::{Ledger, LedgerAtMark},
    limit::{
        ALLOCATOR_SLACK_PART, BATCH_DELTAS, BATCHES_MAX, EPOCH_ROWS, HELD_MAX, INVENTORY_BYTES, LEDGERS_MAX, PROCESS_BYTES,
        ROWS_WAITING_MAX, SAMPLE_BATCH_OCTETS, SAMPLE_BATCH_SAMPLES, SAMPLE_BATCHES_MAX, SIDED_SCOPES_MAX,
    },
    observation::Observation,
    sidedness::SideCounts,
    summary::{MemoryBound, Named},
};

/// Memory of one scope of sidedness: its counts twice, each with its place in a node of a tree that is not full, and its name.
const SIDED_SCOPE_BYTES: usize = 2 * (size_of::<SideCounts>() + 64) + 64;

/// Memory of something that is held for its time, or on its way to the keeper.
const HELD_BYTES: usize = 2 * size_of::<Observation>();

/// Of an engine that meters the configuration's interfaces; one, where it names none.
///
/// # Errors
/// When the host does not say which CPUs it has.
pub fn memory_of_run(config: &Config) -> Result<MemoryBound, PipelineError> {
    let taps = config.interfaces.len().max(1);
    let bound = live::memory_bound(taps, config.meter.sets, config.meter.ring_bytes).map_err(PipelineError::stage)?;
    let per_tap = live::rings_per_tap().map_err(PipelineError::stage)?;
    let rings = per_tap.saturating_mul(u16::try_from(taps).unwrap_or(u16::MAX));
    let kernel = vec![("kernel_caches", bound.caches), ("kernel_rings", bound.rings)];
    Ok(sum(config, rings, kernel, bound.mapped, Vec::new()))
}

/// Of a replay of these inputs.
pub fn memory_of_replay(config: &Config, inputs: &[PathBuf]) -> MemoryBound {
    let parts = vec![("flow_cache", native::memory_bound(config.meter.sets)), ("inputs", replay::memory_bound(inputs))];
    sum(config, 1, Vec::new(), 0, parts)
}

/// Adds what is behind capture. `mapped`: what the process maps of the kernel's parts, as the kernel counts it.
fn sum(
    config: &Config,
    rings: u16,
    kernel: Vec<(&'static str, u64)>,
    mapped: u64,
    mut heap: Vec<(&'static str, u64)>,
) -> MemoryBound {
    let shards = config.biflow.shards as u64;
    let table = biflow::MemoryBound::new(&biflow_settings(config, rings));
    let batch = (BATCH_DELTAS * size_of::<Delta>()) as u64;
    // On their way to each shard and in its hands, open at each ring, and empty on their way back.
    let batches = shards * (BATCHES_MAX as u64 + 1 + u64::from(rings)) + BATCHES_MAX as u64;
    // On their way, at the merge, and in the batch that it makes.
    let rows = shards * (ROWS_WAITING_MAX + 2 * EPOCH_ROWS) as u64 * Flow::BYTES_MAX as u64;
    let books = LEDGERS_MAX * size_of::<LedgerAtMark>() + usize::from(rings) * (size_of::<Ledger>() + size_of::<LedgerAtMark>());
    // On their way, open at each ring, and empty on their way back.
    let samples =
        (2 * SAMPLE_BATCHES_MAX + usize::from(rings)) * (SAMPLE_BATCH_OCTETS + SAMPLE_BATCH_SAMPLES * size_of::<SampleHead>());
    heap.extend([
        ("flow_tables", shards * table.flows),
        ("waiting_deltas", shards * table.held),
        ("batches", batches * batch),
        ("rows", shards * table.rows + rows),
        ("samples", samples as u64 + dissect::memory_bound()),
        ("inventory", identify::memory_bound() + (HELD_MAX * HELD_BYTES + INVENTORY_BYTES) as u64),
        ("lake", lake::memory_bound(&lake_settings(config))),
        ("books", (books + SIDED_SCOPES_MAX * SIDED_SCOPE_BYTES) as u64),
    ]);
    let asked: u64 = heap.iter().map(|(_, bytes)| bytes).sum();
    let process = asked / ALLOCATOR_SLACK_PART + PROCESS_BYTES;
    let parts: Vec<_> = kernel.into_iter().chain(heap).chain([("process", process)]).collect();
    MemoryBound { resident_bytes: asked + process + mapped, parts: Named(parts) }
}
