//! Captures through the whole engine, held against `capinfos` and `tshark`.
//!
//! Of every capture: the engine ends without a panic; the ledger closes; `packets_seen` is what `capinfos` counts; what `capinfos`
//! reads to the end ends without an error here, and what has a fault ends with an error that names the file; and the sums
//! re-read from Parquet are those of the summary. Where `tshark` is asked: its TCP and UDP conversations, packets and octets.
//!
//! General rules of what may differ, each counted:
//! * `refused_by_wireshark`: formats, versions and links that Wireshark does not read; nothing is compared.
//! * `damaged_early`: Wireshark guesses between header layouts by the first records of a pcap; a file damaged within them may end
//!   elsewhere there.
//! * Those of single conversations: see [`Conversations::differences`].

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use auscult::{lake::sum_packets, pipeline::PipelineError};

use crate::{
    capinfos::{BATCH, RECORDS_GUESSED_BY, Verdict, capinfos},
    conversations::{Conversations, Tshark},
    replay::{Replayed, every_packet, on_two_threads},
};

/// What was found.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Captures.
    pub captures: u64,
    /// Those that ended with an error.
    pub faults: u64,
    /// Packets seen, metered and re-read from Parquet.
    pub packets: [u64; 3],
    /// Captures whose conversations were compared.
    pub compared: u64,
    /// Conversations of TCP and UDP in them, and their octets.
    pub conversations: u64,
    /// See above.
    pub octets: u64,
    /// Differences that a rule explains, by rule.
    pub rules: BTreeMap<&'static str, u64>,
    /// Differences that none explains.
    pub complaints: Vec<String>,
}

impl Report {
    /// Checks captures. `asks_tshark` says of which the conversations are compared.
    ///
    /// # Errors
    /// When a tool cannot run.
    pub fn of(captures: &[PathBuf], tshark: Option<&Tshark>, asks_tshark: impl Fn(&Path) -> bool + Sync) -> Result<Self> {
        let mut verdicts = BTreeMap::new();
        for batch in captures.chunks(BATCH) {
            verdicts.extend(capinfos(batch)?);
        }
        let results = on_two_threads(captures, |capture| {
            let verdict = verdicts.get(capture).with_context(|| format!("capinfos says nothing of {}", capture.display()))?;
            let mut report = Self::default();
            report.check(capture, verdict, tshark.filter(|_| asks_tshark(capture)))?;
            anyhow::Ok(report)
        });
        results.into_iter().try_fold(Self::default(), |sum, report| Ok(sum.with(report?)))
    }

    fn with(mut self, other: Self) -> Self {
        self.captures += other.captures;
        self.faults += other.faults;
        for (sum, more) in self.packets.iter_mut().zip(other.packets) {
            *sum += more;
        }
        self.compared += other.compared;
        self.conversations += other.conversations;
        self.octets += other.octets;
        for (rule, count) in other.rules {
            *self.rules.entry(rule).or_default() += count;
        }
        self.complaints.extend(other.complaints);
        self
    }

    fn check(&mut self, capture: &Path, verdict: &Verdict, tshark: Option<&Tshark>) -> Result<()> {
        let replayed = Replayed::of(&[capture.to_owned()], &every_packet())?;
        let (summary, error) = (&replayed.outcome.summary, &replayed.outcome.error);
        let mut complaints = Vec::new();
        if !summary.balanced() {
            complaints.push(format!("the ledger does not close: {:?}", summary.imbalance));
        }
        if let Some(PipelineError::Died(name)) = error {
            complaints.push(format!("thread {name} died"));
        }
        let sums = sum_packets(replayed.data.path(), None)?;
        if (sums.packets, sums.octets, sums.rows) != (summary.packets_metered, summary.octets_metered, summary.flows) {
            complaints.push(format!("{sums:?} re-read, {} packets metered", summary.packets_metered));
        }
        let discarded = summary.discarded.total();
        if summary.packets_metered + discarded != summary.packets_seen || summary.lost.total() + summary.resident > 0 {
            complaints.push(format!("{} seen, {} metered, {discarded} discarded", summary.packets_seen, summary.packets_metered));
        }
        let message = error.as_ref().map(ToString::to_string);
        if message.as_ref().is_some_and(|text| text.contains('\n') || !text.contains(&*capture.to_string_lossy())) {
            complaints.push(format!("an unclear error: {message:?}"));
        }
        self.captures += 1;
        self.faults += u64::from(error.is_some());
        for (sum, more) in self.packets.iter_mut().zip([summary.packets_seen, summary.packets_metered, sums.packets]) {
            *sum += more;
        }
        let comparable = self.compare_frames(verdict, summary.packets_seen, message.as_deref(), &mut complaints);
        if let Some(tshark) = tshark.filter(|_| comparable) {
            self.compare_conversations(capture, &replayed, tshark, &mut complaints);
        }
        self.complaints.extend(complaints.into_iter().map(|complaint| format!("{}: {complaint}", capture.display())));
        Ok(())
    }

    /// Holds the count of frames against `capinfos`; whether Wireshark reads the same frames.
    fn compare_frames(&mut self, verdict: &Verdict, seen: u64, error: Option<&str>, complaints: &mut Vec<String>) -> bool {
        match verdict {
            Verdict::Read(theirs) if theirs.fault && error.is_some() && theirs.frames.min(seen) < RECORDS_GUESSED_BY => {
                *self.rules.entry("damaged_early").or_default() += 1;
                theirs.frames == seen
            }
            Verdict::Read(theirs) => {
                if theirs.frames != seen || theirs.fault != error.is_some() {
                    complaints.push(format!("{seen} frames and {error:?}, capinfos {theirs:?}"));
                }
                theirs.frames == seen
            }
            Verdict::Refused => {
                *self.rules.entry("refused_by_wireshark").or_default() += 1;
                false
            }
            Verdict::NotCapture => {
                if error.is_none() || seen > 0 {
                    complaints.push(format!("{seen} frames and {error:?}, capinfos: no capture"));
                }
                false
            }
        }
    }

    fn compare_conversations(&mut self, capture: &Path, replayed: &Replayed, tshark: &Tshark, complaints: &mut Vec<String>) {
        let theirs = match tshark.read(capture) {
            Ok(theirs) => theirs,
            Err(error) => return complaints.push(format!("{error:#}")),
        };
        let ours = match replayed.rows() {
            Ok(rows) => Conversations::of_rows(&rows),
            Err(error) => return complaints.push(format!("{error:#}")),
        };
        if theirs.frames != replayed.outcome.summary.packets_seen {
            complaints.push(format!("tshark reads {} frames", theirs.frames));
        }
        let (rules, unexplained) = ours.differences(&theirs);
        self.compared += 1;
        self.conversations += ours.whole.len() as u64;
        self.octets += ours.whole.values().map(|volume| volume.octets).sum::<u64>();
        for (rule, count) in rules {
            *self.rules.entry(rule).or_default() += count;
        }
        complaints.extend(unexplained);
    }

    /// The figures, a line each.
    pub fn print(&self) {
        let [seen, metered, reread] = self.packets;
        println!(
            "{} captures ({} with a fault), packets: {seen} seen, {metered} metered, {reread} re-read",
            self.captures, self.faults
        );
        println!("conversations of {} captures: {} with {} octets", self.compared, self.conversations, self.octets);
        println!("differences by rule: {:?}; unexplained: {}", self.rules, self.complaints.len());
    }
}
