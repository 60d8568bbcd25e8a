//! Every bound of the engine's userspace, with its reason. Bounds of the kernel side are in [`auscult_ebpf::limit`].

/// Octets of a site name: it is a directory name in the lake and part of pin paths.
pub const SITE_OCTETS_MAX: usize = 64;
/// Tap interfaces of one engine. Bounds the metric series that carry an interface.
pub const INTERFACES_MAX: usize = 16;
/// Octets of an interface name (`IFNAMSIZ` less its zero).
pub const INTERFACE_OCTETS_MAX: usize = 15;
/// Octets of a frame in a capture beyond which an offload must have merged it: the largest usual MTU, link header and two tags. (The
/// MTU of the link is not in a capture; live, it is that of the tap.)
pub const REPLAYED_FRAME_OCTETS_MAX: u32 = 9_216 + 14 + 8;
/// Observation points by VLAN identifier (or none) of which sidedness is counted at a time: all that the interfaces of one engine can
/// have, in some 20 MiB. In replay, where a capture may describe more interfaces, the sums of further ones have no name.
pub const SIDED_SCOPES_MAX: usize = 1 << 17;
/// Scopes of sidedness that a summary lists, those with most one-sided flows first.
pub const SIDED_SCOPES_LISTED: usize = 64;
/// One-sided flows in a hundred, of those of which it is known, from which a summary's text names the scope: captures begin and end
/// amid conversations, so that some of a good mirror's are one-sided, too.
pub const ONE_SIDED_PERCENT_NAMED: u64 = 5;
/// Scopes that a summary's text names; the rest is counted.
pub const ONE_SIDED_SCOPES_NAMED: usize = 5;
/// Biflow shards. Beyond this the merge, not the shards, sets the pace.
pub const SHARDS_MAX: usize = 64;
/// Octets of a configuration file: a mistaken path to a capture must not be read whole.
pub const CONFIG_OCTETS_MAX: u64 = 1 << 20;
/// Metric series that the registry may hold, process metrics included.
pub const SERIES_MAX: usize = 1024;
/// Threads whose progress `/healthz` watches.
pub const THREADS_MAX: usize = 512;
/// A thread that did not move for this long is stalled. Every thread polls at least ten times as often.
pub const STALL_SECS: u64 = 30;
/// Lines of one call site (level info and above) written to the log per [`LOG_WINDOW_SECS`].
pub const LOG_LINES_PER_WINDOW: u32 = 10;
/// See [`LOG_LINES_PER_WINDOW`].
pub const LOG_WINDOW_SECS: u64 = 10;
/// Connections the metrics server keeps open at a time.
pub const CONNECTIONS_MAX: usize = 64;
/// How long a stopping metrics server waits for answers that are being sent.
pub const SERVE_STOP_MILLIS: u64 = 500;
/// Rows that a listing command prints unless `--limit` says otherwise.
pub const LISTING_ROWS_DEFAULT: usize = 100;
/// Most rows that a listing command prints; more is a query's business.
pub const LISTING_ROWS_MAX: usize = 1_000_000;
/// Faults of input files that a summary lists; the rest is counted.
pub const INPUT_ERRORS_KEPT: usize = 20;
/// Deltas per batch between capture and a shard (about 200 KiB): large enough that a hand-over costs nothing per delta.
pub const BATCH_DELTAS: usize = 512;
/// Batches that wait for a shard (about 13 MiB).
pub const BATCHES_MAX: usize = 64;
/// Rows of one epoch, or of one part of it (about 3 MiB): large enough that a hand-over costs nothing per row. Capture says so to all
/// shards after as many deltas without a Mark, because a delta finishes one row at most.
pub const EPOCH_ROWS: usize = 4096;
/// Epochs of one shard that wait for the lake.
pub const EPOCHS_MAX: usize = 64;
/// Rows in them (about 24 MiB): most epochs are far shorter than [`EPOCH_ROWS`].
pub const ROWS_WAITING_MAX: usize = 8 * EPOCH_ROWS;
/// Coverage rows that wait for the lake: one per observation point and minute.
pub const COVERAGE_MAX: usize = 64;
/// Samples of one batch between capture and the dissectors.
pub const SAMPLE_BATCH_SAMPLES: usize = 512;
/// Their payload, octets.
pub const SAMPLE_BATCH_OCTETS: usize = 256 << 10;
/// Batches of samples that wait for the dissectors (about 20 MiB), and Marks between them.
pub const SAMPLE_BATCHES_MAX: usize = 64;
/// Messages that wait for the keeper of the inventory.
pub const KEEPER_MESSAGES_MAX: usize = 256;
/// Memory of the inventory's file that is held: its pages, twice while a batch is written.
pub const INVENTORY_BYTES: usize = 96 << 20;
/// Observations and presences that are held until every source has passed their time (about 30 MiB).
pub const HELD_MAX: usize = 1 << 17;
/// Ledgers that wait for the books.
pub const LEDGERS_MAX: usize = 256;

/// What a packet waits in memory besides the flow's timeouts and the file's: its own tick, the ticks by which a table trails and the
/// granularity of timers (four ticks, 2.2 s), two Marks (1.8 s at most), and the writing of a file.
pub const FLUSH_SLACK_SECS: u64 = 5;

const _: () = assert!(INTERFACES_MAX * (4096 + 1) <= SIDED_SCOPES_MAX, "a VLAN identifier has 12 bits");
const _: () = assert!(ONE_SIDED_SCOPES_NAMED <= SIDED_SCOPES_LISTED);

/// Memory of the process besides what grows with its work: code, libraries, stacks, metrics, parts of the allocator.
pub const PROCESS_BYTES: u64 = 32 << 20;
/// The allocator holds at most one part in this many more than it was asked for (measured by the overload suite).
pub const ALLOCATOR_SLACK_PART: u64 = 8;

const _: () = assert!(BATCH_DELTAS < EPOCH_ROWS && EPOCH_ROWS <= ROWS_WAITING_MAX);
const _: () = assert!(LISTING_ROWS_DEFAULT <= LISTING_ROWS_MAX);
