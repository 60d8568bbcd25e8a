//! Deltas of one ring into batches per shard, Marks into every shard and into the ledger.
//!
//! Here `metered` is recounted, delta by delta, independently of the meter's own counters.

use auscult_ebpf::{
    hash,
    record::{Delta, Mark, TunnelPath},
};
use crossbeam::channel::{Receiver, Sender};

use crate::{
    batch::{Message, Ring, RingMark},
    ledger::{Count, Ledger, LedgerAtMark, UserLost},
    limit::EPOCH_ROWS,
};

/// Where records go. All channels are bounded; a full one holds up the sender, and a live meter counts what then finds no room.
#[derive(Clone, Debug)]
pub struct Outlets {
    /// One per shard.
    pub shards: Vec<Sender<Message>>,
    /// The ledger of every ring at every Mark.
    pub ledger: Sender<LedgerAtMark>,
    /// Emptied batches that come back to be filled again ([`crossbeam::channel::never`] if none do).
    pub recycled: Receiver<Vec<Delta>>,
    /// Deltas per batch.
    pub batch_deltas: usize,
}

/// The receiving side of a channel is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gone;

/// The open batches of one ring.
pub struct Batches {
    ring: Ring,
    outlets: Outlets,
    open: Vec<Vec<Delta>>,
    metered: Count,
    attachment: u32,
    before: Ledger,
    /// What engines before this one took; `None` until the first Mark says so.
    earlier: Option<Count>,
    /// Not sent yet.
    paths: Vec<TunnelPath>,
    /// Deltas since the newest Mark or span.
    unspanned: usize,
    last: Option<LedgerAtMark>,
}

impl Batches {
    /// No batch is open yet.
    pub fn new(ring: Ring, outlets: Outlets) -> Self {
        let open = outlets.shards.iter().map(|_| Vec::new()).collect();
        let (metered, before) = (Count::default(), Ledger::default());
        Self {
            ring,
            outlets,
            open,
            metered,
            attachment: 0,
            before,
            earlier: Some(Count::default()),
            paths: Vec::new(),
            unspanned: 0,
            last: None,
        }
    }

    /// The ring is of that attachment, and its ledger begins with `before`. An `adopted` ring was read by engines before this one: what it handed over up to the
    /// first Mark and was not received here, they took.
    pub fn inherit(&mut self, attachment: u32, before: &Ledger, adopted: bool) {
        self.attachment = attachment;
        self.before = *before;
        self.earlier = (!adopted).then(Count::default);
    }

    /// What was received, whether a Mark has closed it or not.
    pub fn received(&self) -> Count {
        self.metered
    }

    /// The ledger at the newest Mark.
    pub fn last(&self) -> Option<LedgerAtMark> {
        self.last
    }

    /// Adds a delta to its shard's batch; a full batch is sent.
    pub fn push(&mut self, delta: &Delta) -> Result<(), Gone> {
        let shard = self.keep(delta);
        self.span()?;
        if self.open[shard].len() >= self.outlets.batch_deltas { self.send(shard) } else { Ok(()) }
    }

    /// Adds a delta to its shard's batch; which shard. Nothing is sent.
    pub fn keep(&mut self, delta: &Delta) -> usize {
        // LEDGER-2: counted from the delta itself.
        self.metered.add(Count {
            packets: delta.header.packets.iter().copied().map(u64::from).sum(),
            octets: delta.side.iter().map(|side| u64::from(side.volume.layer2_octets)).sum(),
        });
        let shard = if self.open.len() == 1 { 0 } else { hash::shard(&delta.key) as usize % self.open.len() };
        let batch = &mut self.open[shard];
        if batch.capacity() == 0 {
            *batch = self.outlets.recycled.try_recv().unwrap_or_default();
            batch.clear();
            batch.reserve(self.outlets.batch_deltas);
        }
        batch.push(*delta);
        self.unspanned += 1;
        shard
    }

    /// Sends the batches that are full.
    pub fn send_full(&mut self) -> Result<(), Gone> {
        let full = self.outlets.batch_deltas;
        self.span()?;
        (0..self.open.len()).try_for_each(|shard| if self.open[shard].len() >= full { self.send(shard) } else { Ok(()) })
    }

    /// Ends a span when it is long enough.
    fn span(&mut self) -> Result<(), Gone> {
        if self.unspanned < EPOCH_ROWS {
            return Ok(());
        }
        self.flush()?;
        self.send_to_all(&Message::Span)
    }

    /// Adds what later deltas refer to: it is sent to every shard before them.
    pub fn path(&mut self, path: &TunnelPath) {
        self.paths.push(*path);
    }

    /// Sends what is open, then the Mark. `bad` is what could not be read of the ring.
    pub fn mark(&mut self, mark: &Mark, utc_offset: i64, bad: Count) -> Result<(), Gone> {
        // LEDGER-3: what the counters include is sent before the Mark that closes the span.
        self.flush()?;
        let mut ledger = Ledger::at_mark(mark, self.metered);
        ledger.earlier = *self.earlier.get_or_insert_with(|| ledger.handed_over().less(self.metered));
        ledger.metered.add(ledger.earlier);
        ledger.add(&self.before);
        ledger.user_lost[UserLost::BadRecord as usize] = bad;
        let mark = RingMark { ring: self.ring, at: mark.at, utc_offset };
        let at_mark = LedgerAtMark { mark, attachment: self.attachment, ledger };
        self.last = Some(at_mark);
        self.outlets.ledger.send(at_mark).map_err(|_| Gone)?;
        self.send_to_all(&Message::Mark(mark))
    }

    /// Says to every shard that the clock stepped back.
    pub fn clock_step(&mut self) -> Result<(), Gone> {
        self.flush()?;
        self.send_to_all(&Message::ClockStep)
    }

    /// Says to every shard that this ring has ended. What no Mark has closed goes first.
    pub fn close(&mut self) -> Result<(), Gone> {
        self.send_rest()?;
        self.send_to_all(&Message::Close { ring: self.ring })
    }

    /// Sends what no Mark has closed.
    pub fn send_rest(&mut self) -> Result<(), Gone> {
        self.flush()
    }

    fn flush(&mut self) -> Result<(), Gone> {
        self.unspanned = 0;
        (0..self.open.len()).try_for_each(|shard| self.send(shard))
    }

    fn send(&mut self, shard: usize) -> Result<(), Gone> {
        if self.open[shard].is_empty() {
            return Ok(());
        }
        for path in std::mem::take(&mut self.paths) {
            self.send_to_all(&Message::TunnelPath(Box::new(path)))?;
        }
        let deltas = std::mem::take(&mut self.open[shard]);
        self.outlets.shards[shard].send(Message::Deltas { ring: self.ring, deltas }).map_err(|_| Gone)
    }

    fn send_to_all(&self, message: &Message) -> Result<(), Gone> {
        self.outlets.shards.iter().try_for_each(|shard| shard.send(message.clone()).map_err(|_| Gone))
    }
}
