//! One shard: batches of deltas and Marks in, epochs out.

use std::time::Duration;

use auscult_ebpf::record::Delta;
use crossbeam::channel::{Receiver, RecvTimeoutError, Sender};

use super::{
    Watched,
    keeper::{KeeperOutlet, ToKeeper},
    presence::Presences,
    store::{FromShard, RowsWaiting},
};
use crate::{
    batch::Message,
    biflow::{Epoch, Table},
};

/// How long a shard waits before it says that it lives.
const PATIENCE: Duration = Duration::from_secs(1);

/// One shard and its edges.
pub struct Shard {
    /// Its number.
    pub number: usize,
    /// Its flows.
    pub table: Table,
    /// From capture.
    pub from: Receiver<Message>,
    /// Emptied batches, back to capture.
    pub give_back: Sender<Vec<Delta>>,
    /// To the lake.
    pub to: Sender<FromShard>,
    /// How many rows may wait on that way.
    pub rows: RowsWaiting,
    /// Who sends frames.
    pub presences: Presences,
    /// To the keeper of the inventory.
    pub to_keeper: KeeperOutlet,
}

impl Shard {
    /// Runs until capture has ended and nothing waits.
    pub fn run(mut self, watched: &Watched) {
        let beat = watched.health.watch(&format!("biflow-{}", self.number));
        let mut running = true;
        while running {
            beat.tick();
            let mut epoch = match self.from.recv_timeout(PATIENCE) {
                Ok(message) => self.message(message),
                Err(RecvTimeoutError::Timeout) => continue,
                Err(RecvTimeoutError::Disconnected) => {
                    running = false;
                    // A ring that never said that it ends had a thread that died: what came before that is good.
                    self.table.close_all()
                }
            };
            while let Some(finished) = epoch {
                let permit = self.rows.wait_for(finished.rows.len(), || beat.tick());
                let statistics = self.table.statistics();
                if self.to.send(FromShard { epoch: finished, statistics, permit }).is_err() {
                    return;
                }
                epoch = self.table.more();
            }
        }
    }

    fn message(&mut self, message: Message) -> Option<Epoch> {
        let epoch = self.table.message(&message);
        self.tell_keeper(&message);
        if let Message::Deltas { mut deltas, .. } = message {
            deltas.clear();
            // A full way back means that capture has enough empty batches.
            drop(self.give_back.try_send(deltas));
        }
        epoch
    }

    fn tell_keeper(&mut self, message: &Message) {
        let shard = self.number;
        let told = match message {
            Message::Deltas { deltas, .. } => {
                let mut presences = Vec::new();
                self.presences.take(deltas, &mut presences);
                if presences.is_empty() {
                    return;
                }
                ToKeeper::Present(presences)
            }
            Message::Mark(mark) => ToKeeper::Counted { shard, ring: mark.ring, at: mark.at },
            Message::Close { ring } => ToKeeper::Counted { shard, ring: *ring, at: u64::MAX },
            Message::TunnelPath(_) | Message::Span | Message::ClockStep => return,
        };
        self.to_keeper.send(told);
    }
}
