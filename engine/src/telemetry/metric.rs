//! Every metric once: name, kind, label set, help. Registry, Markdown table and tests read this table.

use auscult_ebpf::{
    discard::{Discard, Lost},
    sample::Class,
};

use crate::{
    device::Category,
    flow::FlowEndReason,
    ledger::UserLost,
    observation::Protocol,
    sidedness::{Sidedness, TRANSPORTS},
};

/// How a metric moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Goes both ways.
    Gauge,
}

/// A label and the closed set of its values. Addresses, hosts and device ids are never among them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Label {
    /// Why a frame was refused.
    DiscardReason,
    /// Where packets were lost, in the kernel or in userspace.
    Place,
    /// Sample class.
    Class,
    /// What became of a sample.
    Outcome,
    /// How frames are read.
    Hook,
    /// A tap interface of the configuration.
    Interface,
    /// Why a flow ended.
    EndReason,
    /// TCP or not.
    Transport,
    /// Which directions of a flow were seen.
    Sidedness,
    /// A bounded channel between two stages.
    Edge,
    /// A table of the lake.
    Table,
    /// A protocol that the dissectors know, or `unknown`.
    Protocol,
    /// What became of a conversation.
    Stream,
    /// What a device is.
    Category,
    /// A path of the metrics server.
    Endpoint,
    /// Version of the engine.
    Version,
}

/// Values of [`Label::Outcome`]: handed over, left out by the class's share, left out because the ring had no room.
pub const OUTCOMES: [&str; 3] = ["taken", "shed", "lost"];
/// Values of [`Label::Hook`].
pub const HOOKS: [&str; 4] = ["xdp_native", "xdp_generic", "tcx", "replay"];
/// Values of [`Label::Edge`], in data order.
pub const EDGES: [&str; 6] =
    ["capture_biflow", "biflow_merge", "capture_coverage", "coverage_lake", "capture_dissect", "dissect_inventory"];
/// Values of [`Label::Table`].
pub const TABLES: [&str; 2] = ["flows", "coverage"];
/// Values of [`Label::Stream`]: met, not followed because there were too many, amid one that had a gap.
pub const STREAMS: [&str; 3] = ["followed", "refused", "gap"];
/// Values of [`Label::Endpoint`].
pub const ENDPOINTS: [&str; 4] = ["metrics", "healthz", "readyz", "other"];

impl Label {
    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::DiscardReason | Self::EndReason => "reason",
            Self::Place => "place",
            Self::Class => "class",
            Self::Outcome => "outcome",
            Self::Hook => "hook",
            Self::Interface => "interface",
            Self::Transport => "transport",
            Self::Sidedness => "sidedness",
            Self::Edge => "edge",
            Self::Table => "table",
            Self::Protocol => "protocol",
            Self::Stream => "outcome",
            Self::Category => "category",
            Self::Endpoint => "endpoint",
            Self::Version => "version",
        }
    }

    /// All its values; `interfaces` are those of the configuration.
    pub fn values(self, interfaces: &[String]) -> Vec<String> {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        match self {
            Self::DiscardReason => Discard::ALL.iter().map(|reason| reason.name().to_owned()).collect(),
            Self::Place => {
                let kernel = Lost::ALL.iter().map(|place| place.name());
                kernel.chain(UserLost::ALL.iter().map(|place| place.name())).map(str::to_owned).collect()
            }
            Self::Class => {
                Class::ALL.iter().filter(|class| **class != Class::None).map(|class| class.name().to_owned()).collect()
            }
            Self::EndReason => FlowEndReason::ALL.iter().map(|reason| reason.name().to_owned()).collect(),
            Self::Transport => owned(&TRANSPORTS),
            Self::Sidedness => Sidedness::ALL.iter().map(|kind| kind.name().to_owned()).collect(),
            Self::Outcome => owned(&OUTCOMES),
            Self::Hook => owned(&HOOKS),
            Self::Interface => interfaces.to_vec(),
            Self::Edge => owned(&EDGES),
            Self::Table => owned(&TABLES),
            Self::Protocol => {
                Protocol::ALL.iter().map(|protocol| protocol.name()).chain(["unknown"]).map(str::to_owned).collect()
            }
            Self::Stream => owned(&STREAMS),
            Self::Category => Category::ALL.iter().map(|category| category.name().to_owned()).collect(),
            Self::Endpoint => owned(&ENDPOINTS),
            Self::Version => owned(&[env!("CARGO_PKG_VERSION")]),
        }
    }
}

macro_rules! metrics {
    ($($variant:ident $kind:ident $name:literal [$($label:ident),*] $help:literal)+) => {
        /// The engine's metrics.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Metric { $(#[doc = $help] $variant),+ }

        impl Metric {
            /// All, in the order of the table.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// Name in the exposition.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),+ }
            }

            /// How it moves.
            pub const fn kind(self) -> Kind {
                match self { $(Self::$variant => Kind::$kind),+ }
            }

            /// Its labels, in the order in which values are given.
            pub const fn labels(self) -> &'static [Label] {
                match self { $(Self::$variant => &[$(Label::$label),*]),+ }
            }

            /// What it says.
            pub const fn help(self) -> &'static str {
                match self { $(Self::$variant => $help),+ }
            }
        }
    };
}

metrics! {
    CaptureSeenPackets Counter "auscult_capture_seen_packets_total" [] "Frames that reached the meter."
    CaptureSeenOctets Counter "auscult_capture_seen_octets_total" [] "Octets on the wire of the frames that reached the meter."
    CaptureMeteredPackets Counter "auscult_capture_metered_packets_total" [] "Packets counted into flows, recounted from the deltas that arrived."
    CaptureMeteredOctets Counter "auscult_capture_metered_octets_total" [] "Octets on the wire of the packets counted into flows."
    CaptureDuplicatePackets Counter "auscult_capture_duplicate_packets_total" [] "Frames recognised as second copies of a mirrored frame."
    CaptureDuplicateOctets Counter "auscult_capture_duplicate_octets_total" [] "Octets on the wire of second copies."
    CaptureDiscardedPackets Counter "auscult_capture_discarded_packets_total" [DiscardReason] "Frames refused because nothing in them can be a flow key."
    CaptureDiscardedOctets Counter "auscult_capture_discarded_octets_total" [DiscardReason] "Octets on the wire of refused frames."
    CaptureLostPackets Counter "auscult_capture_lost_packets_total" [Place] "Packets that could not be kept; those of write and bad_record are counted as metered, too."
    CaptureLostOctets Counter "auscult_capture_lost_octets_total" [Place] "Octets on the wire of packets that could not be kept."
    CaptureResidentPackets Gauge "auscult_capture_resident_packets" [] "Packets still in the flow caches at the last Mark."
    CaptureLedgerImbalancePackets Gauge "auscult_capture_ledger_imbalance_packets" [] "Seen less metered, duplicate, discarded, lost in the kernel and resident at the last Mark; must be 0."
    CaptureLedgerImbalanceOctets Gauge "auscult_capture_ledger_imbalance_octets" [] "The same in octets on the wire; must be 0."
    CaptureNicDroppedPackets Counter "auscult_capture_nic_dropped_packets_total" [Interface] "Frames that the interface or its driver dropped before the meter."
    CaptureTapTransmittedPackets Counter "auscult_capture_tap_transmitted_packets_total" [Interface] "Frames sent out of a tap interface; must be 0."
    CaptureSamples Counter "auscult_capture_samples_total" [Class, Outcome] "Payload samples: taken, shed (the class had used its share) or lost (no room in the ring)."
    CaptureModeInfo Gauge "auscult_capture_mode_info" [Hook] "1 for the hooks by which frames are read."
    CaptureMarks Counter "auscult_capture_marks_total" [] "Marks received: times at which a ring's ledger was closed."
    CaptureUnbalancedMarks Counter "auscult_capture_unbalanced_marks_total" [] "Marks at which the ledger did not close; must be 0."
    CaptureLastMark Gauge "auscult_capture_last_mark_timestamp_seconds" [] "Unix time of the last Mark; capture time in replay."
    CaptureDeltas Counter "auscult_capture_deltas_total" [] "Deltas that left the flow caches."
    CaptureRecognisedDuplicatePackets Counter "auscult_capture_recognised_duplicate_packets_total" [] "Frames recognised as second copies, whether they were left out or not."
    CaptureTunnelledPackets Counter "auscult_capture_tunnelled_packets_total" [] "Metered packets that were encapsulated."
    CaptureTunnelPathsLost Counter "auscult_capture_tunnel_paths_lost_total" [] "Descriptions of encapsulations that found no room in a ring."
    CaptureSuperFrames Counter "auscult_capture_super_frames_total" [] "Frames that an offload merged: longer than an MTU allows, or marked so by the kernel; packets and sizes are those of merged frames."
    CaptureTruncatedFrames Counter "auscult_capture_truncated_frames_total" [] "Frames captured shorter than they were on the wire."
    BiflowLiveFlows Gauge "auscult_biflow_live_flows" [] "Open flows of all shards."
    BiflowFlowsExported Counter "auscult_biflow_flows_exported_total" [EndReason] "Flow records that left the tables."
    BiflowSidedFlows Counter "auscult_biflow_sided_flows_total" [Interface, Transport, Sidedness] "Biflows by the directions that their tap saw; one_sided: it missed one that is proven to have spoken. Counted with the first segment; live only."
    BiflowSidedPackets Counter "auscult_biflow_sided_packets_total" [Interface, Transport, Sidedness] "Packets of such flows."
    BiflowDeltas Counter "auscult_biflow_deltas_total" [] "Deltas merged into flows."
    BiflowHurriedDeltas Counter "auscult_biflow_hurried_deltas_total" [] "Deltas merged before those of all rings were there, because too many waited."
    BiflowTableBytes Gauge "auscult_biflow_table_bytes" [] "Memory of the flow tables."
    DissectSamples Counter "auscult_dissect_samples_total" [Protocol] "Samples by the protocol that they were recognised as."
    DissectSamplesShed Counter "auscult_dissect_samples_shed_total" [] "Samples left out because the dissectors were behind."
    DissectStreams Counter "auscult_dissect_streams_total" [Stream] "TCP conversations that were met, that were not followed because there were too many, and gaps in them."
    InventoryDevices Gauge "auscult_inventory_devices" [Category] "Devices by category; unknown: not decided."
    InventoryDevicesRefused Counter "auscult_inventory_devices_refused_total" [] "Devices that found no place."
    InventoryLastUpdate Gauge "auscult_inventory_last_update_timestamp_seconds" [] "Record time up to which the inventory is."
    InventoryWaiting Gauge "auscult_inventory_waiting_changes" [] "Changes that could not be written yet."
    InventoryWriteErrors Counter "auscult_inventory_write_errors_total" [] "Times that the inventory could not be written."
    LakeRowsWritten Counter "auscult_lake_rows_written_total" [Table] "Rows in files that are whole and visible."
    LakeFilesWritten Counter "auscult_lake_files_written_total" [Table] "Parquet files that are whole and visible."
    LakeBytesWritten Counter "auscult_lake_bytes_written_total" [Table] "Bytes of those files."
    LakeWriteErrors Counter "auscult_lake_write_errors_total" [] "Files that could not be written."
    ServeRequests Counter "auscult_serve_requests_total" [Endpoint] "Requests answered by the metrics server."
    ProcessChannelDepth Gauge "auscult_process_channel_depth_messages" [Edge] "Messages that wait between two stages."
    ProcessChannelCapacity Gauge "auscult_process_channel_capacity_messages" [Edge] "Messages that can wait between two stages."
    ProcessLogSuppressed Counter "auscult_process_log_lines_suppressed_total" [] "Log lines left out because their place in the code repeated them."
    ProcessPeakMemory Gauge "auscult_process_peak_memory_bytes" [] "Largest resident memory of the process so far."
    ProcessMemoryBound Gauge "auscult_process_memory_bound_bytes" [] "Largest resident memory that the configuration allows."
    ProcessBuildInfo Gauge "auscult_process_build_info" [Version] "1 for the version that runs."
}

/// What the process collector adds: name, kind, help.
pub const PROCESS: [(&str, Kind, &str); 7] = [
    ("auscult_process_cpu_seconds_total", Kind::Counter, "User and system CPU time."),
    ("auscult_process_max_fds", Kind::Gauge, "Most file descriptors the process may open."),
    ("auscult_process_open_fds", Kind::Gauge, "Open file descriptors."),
    ("auscult_process_resident_memory_bytes", Kind::Gauge, "Resident memory."),
    ("auscult_process_start_time_seconds", Kind::Gauge, "Start of the process, Unix time."),
    ("auscult_process_threads", Kind::Gauge, "Threads."),
    ("auscult_process_virtual_memory_bytes", Kind::Gauge, "Virtual memory."),
];

/// The reference of all metrics, as Markdown.
pub fn metrics_table() -> String {
    let mut text = String::from("| metric | kind | labels | meaning |\n|---|---|---|---|\n");
    let mut row = |name: &str, kind: Kind, labels: &str, help: &str| {
        let kind = if kind == Kind::Counter { "counter" } else { "gauge" };
        text.push_str(&format!("| `{name}` | {kind} | {labels} | {help} |\n"));
    };
    for metric in Metric::ALL {
        let labels: Vec<String> = metric.labels().iter().map(|label| label_text(*label)).collect();
        row(metric.name(), metric.kind(), &labels.join("; "), metric.help());
    }
    for (name, kind, help) in PROCESS {
        row(name, kind, "", help);
    }
    text
}

fn label_text(label: Label) -> String {
    match label {
        Label::Interface => "`interface`: the configured interfaces".to_owned(),
        Label::Version => "`version`".to_owned(),
        closed => format!("`{}`: {}", closed.name(), closed.values(&[]).join(", ")),
    }
}
