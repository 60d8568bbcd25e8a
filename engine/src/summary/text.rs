//! The summary as an operator reads it: the ledger as the sum it is, then what was written.

use std::fmt::{self, Display, Formatter};

use super::{MemoryBound, Named, Sided, SidedScope, Summary};
use crate::{
    limit::{ONE_SIDED_PERCENT_NAMED, ONE_SIDED_SCOPES_NAMED},
    sidedness::{Sidedness, Sides},
};

/// A number with a comma every three digits.
struct Grouped(u64);

impl Display for Grouped {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let digits = self.0.to_string();
        let mut text = String::with_capacity(digits.len() * 4 / 3);
        for (i, digit) in digits.chars().enumerate() {
            if i > 0 && (digits.len() - i).is_multiple_of(3) {
                text.push(',');
            }
            text.push(digit);
        }
        f.pad_integral(true, "", &text)
    }
}

/// Bytes in the largest binary unit that leaves at least one.
struct Size(u64);

impl Display for Size {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
        let (mut size, mut unit) = (self.0 as f64, "bytes");
        for next in UNITS {
            if size < 1024.0 {
                break;
            }
            (size, unit) = (size / 1024.0, next);
        }
        if unit == "bytes" { write!(f, "{} bytes", self.0) } else { write!(f, "{size:.1} {unit}") }
    }
}

/// The names whose counts are not zero.
fn parts(named: &Named) -> String {
    let parts: Vec<String> =
        named.0.iter().filter(|(_, count)| *count > 0).map(|(name, count)| format!("{name} {}", Grouped(*count))).collect();
    parts.join(", ")
}

impl Display for MemoryBound {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let parts: Vec<String> = self.parts.0.iter().map(|(part, bytes)| format!("{part} {}", Size(*bytes))).collect();
        write!(f, "at most {} of resident memory by this configuration: {}", Size(self.resident_bytes), parts.join(", "))
    }
}

fn line(f: &mut Formatter<'_>, sign: char, name: &str, packets: u64, rest: &str) -> fmt::Result {
    let text = format!("  {sign} {name:<10} {:>19}  {rest}", Grouped(packets));
    writeln!(f, "{}", text.trim_end())
}

fn tell(f: &mut Formatter<'_>, name: &str, count: u64, rest: &str) -> fmt::Result {
    let text = format!("{name:<14} {:>19}  {rest}", Grouped(count));
    writeln!(f, "{}", text.trim_end())
}

/// The scopes in which the tap misses a direction.
fn one_sided(f: &mut Formatter<'_>, sided: &Sided) -> fmt::Result {
    let is_named = |scope: &&SidedScope| {
        let tcp = &scope.sides.tcp;
        tcp.one_sided_flows > 0 && tcp.one_sided_flows * 100 >= tcp.decided_flows() * ONE_SIDED_PERCENT_NAMED
    };
    for scope in sided.scopes.iter().filter(is_named).take(ONE_SIDED_SCOPES_NAMED) {
        let vlan = scope.vlan.map_or_else(|| "untagged".to_owned(), |vlan| format!("VLAN {vlan}"));
        let (one, all) = (Grouped(scope.sides.tcp.one_sided_flows), Grouped(scope.sides.tcp.decided_flows()));
        let point = &scope.observation_point;
        writeln!(f, "  ! {one} of {all} TCP conversations on {point} {vlan} are one-sided: the mirror misses a direction")?;
    }
    let unnamed = sided.scopes.iter().filter(is_named).count().saturating_sub(ONE_SIDED_SCOPES_NAMED);
    if unnamed > 0 {
        writeln!(f, "    and on {unnamed} more VLANs: see `sidedness` of --json")?;
    }
    Ok(())
}

impl Display for Summary {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "packets at site {}", self.site)?;
        line(f, ' ', "seen", self.packets_seen, &format!("{} octets on the wire", Grouped(self.layer2_octets)))?;
        line(f, '=', "metered", self.packets_metered, &format!("{} octets on the wire", Grouped(self.octets_metered)))?;
        line(f, '+', "duplicate", self.packets_duplicate, "")?;
        line(f, '+', "discarded", self.discarded.total(), &parts(&self.discarded))?;
        line(f, '+', "lost", self.lost.total(), &parts(&self.lost))?;
        line(f, '+', "resident", self.resident, "")?;
        if self.balanced() {
            writeln!(f, "    the ledger closes: every packet is accounted for")?;
        } else {
            let (packets, octets) = (self.imbalance.packets, self.imbalance.octets);
            writeln!(
                f,
                "  ! THE LEDGER DOES NOT CLOSE: {packets} packets and {octets} octets are unaccounted for; please report this"
            )?;
        }
        if self.duplicates_recognised > self.packets_duplicate {
            let text = "packets came twice and were metered all the same (meter.duplicates)";
            writeln!(f, "    {} {text}", Grouped(self.duplicates_recognised))?;
        }
        if self.tunnelled_packets > 0 {
            writeln!(f, "    {} packets were in tunnels, whose inner packets are in the rows", Grouped(self.tunnelled_packets))?;
        }
        if self.super_frames > 0 {
            let frames = Grouped(self.super_frames);
            writeln!(f, "  ! {frames} frames are several that an offload merged: packets and sizes are not those of the wire")?;
            writeln!(f, "    switch it off where they were captured: ethtool -K INTERFACE gro off lro off tso off gso off")?;
        }
        if self.truncated_frames > 0 {
            writeln!(f, "    {} frames were captured shorter than they were on the wire", Grouped(self.truncated_frames))?;
        }
        let mut field = |name: &str, count: u64, rest: String| tell(f, name, count, &rest);
        field("flows", self.flows, parts(&self.flows_by_end_reason))?;
        let tcp = &self.sidedness.tcp;
        if *tcp != Sides::default() {
            let kinds = Sidedness::ALL.map(|kind| (kind.name(), tcp.of(kind).0));
            field("TCP flows", kinds.iter().map(|(_, flows)| flows).sum(), parts(&Named(kinds.to_vec())))?;
        }
        one_sided(f, &self.sidedness)?;
        let mut field = |name: &str, count: u64, rest: String| tell(f, name, count, &rest);
        field("samples", self.samples.total(), parts(&self.samples))?;
        if self.samples_shed.total() > 0 {
            field("samples shed", self.samples_shed.total(), parts(&self.samples_shed))?;
        }
        field("files", self.files_written, Size(self.bytes_written).to_string())?;
        let rate = Grouped(self.packets_per_second.round() as u64);
        let bound =
            if self.memory_bound_bytes > 0 { format!(" of at most {}", Size(self.memory_bound_bytes)) } else { String::new() };
        let memory = self.peak_memory_bytes.map(|bytes| format!(", peak memory {}{bound}", Size(bytes))).unwrap_or_default();
        writeln!(f, "{:<14} {:>17.3} s  {rate} packets/s{memory}", "time", self.elapsed_seconds)?;
        if let Some(seconds) = self.flush_interval_seconds {
            writeln!(f, "{:<14} {:>19}  the most that a crash can lose", "flush interval", format!("{} s", Grouped(seconds)))?;
        }
        for error in &self.input_errors {
            writeln!(f, "not read to its end: {}", error.error)?;
        }
        let unlisted = self.input_error_count.saturating_sub(self.input_errors.len() as u64);
        if unlisted > 0 {
            writeln!(f, "and {} more inputs that were not read to their end", Grouped(unlisted))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use auscult_ebpf::{
        discard::{Discard, Lost},
        sample::Class,
    };

    use super::*;
    use crate::{
        ledger::{Count, Ledger, UserLost},
        sidedness::SideCounts,
        summary::{InputError, Totals},
    };

    fn summary() -> Summary {
        let mut ledger = Ledger::default();
        ledger.counters.seen_packets = 1_234_567;
        ledger.counters.seen_octets = 987_654_321;
        ledger.metered = Count { packets: 1_234_500, octets: 987_650_000 };
        ledger.counters.discarded_packets[Discard::LinkType as usize] = 40;
        ledger.counters.discarded_octets[Discard::LinkType as usize] = 3_000;
        ledger.counters.lost_packets[Lost::RingFull as usize] = 20;
        ledger.counters.lost_octets[Lost::RingFull as usize] = 1_000;
        ledger.user_lost[UserLost::Write as usize] = Count { packets: 500, octets: 50_000 };
        ledger.resident = Count { packets: 7, octets: 321 };
        ledger.counters.samples[Class::Clinical as usize] = 1_200;
        ledger.counters.samples_shed[Class::Name as usize] = 3;
        ledger.counters.samples_lost[Class::Name as usize] = 1;
        let totals = Totals {
            site: "north".to_owned(),
            flows_by_end_reason: [900, 100, 11_000, 45, 0],
            files_written: 3,
            bytes_written: 1_572_864,
            elapsed_seconds: 0.5,
            peak_memory_bytes: Some(64 << 20),
            memory_bound: MemoryBound {
                parts: Named(vec![("lake", 96 << 20), ("process", 32 << 20)]),
                resident_bytes: 128 << 20,
            },
            input_errors: vec![InputError {
                input: "b.pcap".to_owned(),
                error: "b.pcap is cut short after 12 packets".to_owned(),
            }],
            ..Totals::default()
        };
        Summary::new(&ledger, totals)
    }

    #[test]
    fn what_an_operator_reads() {
        let expect = "\
packets at site north
    seen                 1,234,567  987,654,321 octets on the wire
  = metered              1,234,000  987,600,000 octets on the wire
  + duplicate                    0
  + discarded                   40  link_type 40
  + lost                       520  ring_full 20, write 500
  + resident                     7
    the ledger closes: every packet is accounted for
flows                       12,045  idle_timeout 900, active_timeout 100, end_of_flow_detected 11,000, forced_end 45
samples                      1,200  clinical 1,200
samples shed                     4  name 4
files                            3  1.5 MiB
time                       0.500 s  2,469,134 packets/s, peak memory 64.0 MiB of at most 128.0 MiB
not read to its end: b.pcap is cut short after 12 packets
";
        assert_eq!(summary().to_string(), expect);
    }

    #[test]
    fn merged_frames_are_named_with_what_to_do() {
        let mut ledger = Ledger::default();
        assert!(!Summary::new(&ledger, Totals::default()).to_string().contains("merged"));
        ledger.counters.super_frames = 1_200;
        let summary = Summary::new(&ledger, Totals::default());
        let expect = "\
  ! 1,200 frames are several that an offload merged: packets and sizes are not those of the wire
    switch it off where they were captured: ethtool -K INTERFACE gro off lro off tso off gso off
";
        assert!(summary.to_string().contains(expect), "{summary}");
        assert_eq!(serde_json::to_value(&summary).expect("serialisable")["super_frames"], 1_200);
    }

    #[test]
    fn one_sided_vlans_are_named() {
        let scope = |vlan, one_sided_flows, two_sided_flows| {
            let tcp = Sides { one_sided_flows, two_sided_flows, undecided_flows: 1, ..Sides::default() };
            let sides = SideCounts { tcp, other: Sides { undecided_flows: 9, ..Sides::default() } };
            SidedScope { observation_point: "tap0".to_owned(), vlan, sides }
        };
        let scopes = vec![scope(Some(7), 4, 96), scope(Some(20), 3, 7), scope(None, 1_500, 0), scope(Some(8), 0, 0)];
        let totals = Totals { sided: Sided::new(scopes, SideCounts::default()), ..Totals::default() };
        let text = Summary::new(&Ledger::default(), totals).to_string();
        let expect = "\
TCP flows                    1,614  two_sided 103, one_sided 1,507, undecided 4
  ! 1,500 of 1,500 TCP conversations on tap0 untagged are one-sided: the mirror misses a direction
  ! 3 of 10 TCP conversations on tap0 VLAN 20 are one-sided: the mirror misses a direction
samples";
        assert!(text.contains(expect), "{text}");
        let many = (0..70).map(|vlan| scope(Some(vlan), 1, 0)).collect();
        let sided = Sided::new(many, SideCounts::default());
        assert_eq!((sided.scopes.len(), sided.scopes_unlisted, sided.tcp.one_sided_flows), (64, 6, 70));
        let text = Summary::new(&Ledger::default(), Totals { sided, ..Totals::default() }).to_string();
        assert_eq!(text.matches("  ! ").count(), 5);
        assert!(text.contains("    and on 59 more VLANs: see `sidedness` of --json\n"), "{text}");
    }

    #[test]
    fn the_law_holds_in_the_summary() {
        let summary = summary();
        let known = summary.packets_metered
            + summary.packets_duplicate
            + summary.discarded.total()
            + summary.lost.total()
            + summary.resident;
        assert_eq!(summary.packets_seen, known);
        assert!(summary.balanced());
        assert_eq!(summary.lost.get("write"), Some(500));
    }

    #[test]
    fn a_vanished_delta_is_shouted_about() {
        let mut ledger = Ledger::default();
        ledger.counters.seen_packets = 10;
        ledger.counters.seen_octets = 640;
        ledger.metered = Count { packets: 7, octets: 448 };
        let summary = Summary::new(&ledger, Totals::default());
        assert!(!summary.balanced());
        assert!(summary.to_string().contains("  ! THE LEDGER DOES NOT CLOSE: 3 packets and 192 octets are unaccounted for"));
    }

    #[test]
    fn what_a_program_reads() {
        let json = serde_json::to_value(summary()).expect("serialisable");
        for field in [
            "packets_seen",
            "packets_metered",
            "layer2_octets",
            "octets_metered",
            "packets_duplicate",
            "resident",
            "flows",
            "devices",
            "alerts",
            "incidents",
            "elapsed_seconds",
            "packets_per_second",
            "files_written",
            "bytes_written",
            "peak_memory_bytes",
            "memory_bound_bytes",
        ] {
            assert!(json[field].is_number(), "{field}");
        }
        assert_eq!(json["discarded"], serde_json::json!({"frame_too_short": 0, "link_type": 40, "not_ip": 0}));
        let lost = serde_json::json!({"ring_full": 20, "no_ring": 0, "no_slot": 0, "bad_record": 0, "write": 500, "crash": 0});
        assert_eq!(json["lost"], lost);
        assert_eq!(json["imbalance"], serde_json::json!({"packets": 0, "octets": 0}));
        assert_eq!(json["samples"]["clinical"], 1_200);
        assert_eq!(json["sidedness"]["tcp"]["one_sided_flows"], 0);
        assert_eq!(json["memory_bound_parts"], serde_json::json!({"lake": 96 << 20, "process": 32 << 20}));
        assert_eq!(json["packets_per_second"], 2_469_134.0);
        assert_eq!(json["input_errors"][0]["input"], "b.pcap");
        assert_eq!(serde_json::to_value(Summary::of_nothing("x")).expect("serialisable")["packets_seen"], 0);
    }
}
