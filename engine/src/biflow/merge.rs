//! Epochs of all shards in, batches out, in an order that does not depend on the number of shards.

use std::{cmp::Reverse, collections::VecDeque};

use super::Epoch;
use crate::flow::FlowBatch;

/// Joins the epochs of the shards. When every shard has given an epoch, those with the lowest watermark become one batch: a shard
/// that saw the Marks of several rings in another order has watermarks of its own, and none of them can be overtaken.
pub struct Merge {
    shards: Vec<VecDeque<Epoch>>,
}

impl Merge {
    /// A merge of that many shards.
    pub fn new(shards: usize) -> Self {
        Self { shards: (0..shards).map(|_| VecDeque::new()).collect() }
    }

    /// Takes the next epoch of a shard. A shard that does not exist is ignored.
    pub fn push(&mut self, shard: usize, epoch: Epoch) {
        if let Some(queue) = self.shards.get_mut(shard) {
            queue.push_back(epoch);
        }
    }

    /// The next complete batch; `None` until a slower shard catches up.
    pub fn next_batch(&mut self) -> Option<FlowBatch> {
        let mut least = None;
        for queue in &self.shards {
            let front = queue.front()?;
            least = least.max(Some(Reverse((front.era, front.watermark))));
        }
        let Reverse(turn) = least?;
        let (mut rows, mut watermark) = (Vec::new(), 0);
        for queue in &mut self.shards {
            if let Some(epoch) = queue.pop_front_if(|epoch| (epoch.era, epoch.watermark) == turn) {
                watermark = epoch.settled;
                if rows.is_empty() {
                    rows = epoch.rows;
                } else {
                    rows.extend(epoch.rows);
                }
            }
        }
        Some(FlowBatch::new(rows, watermark))
    }

    /// Epochs that wait for a slower shard.
    pub fn waiting(&self) -> usize {
        self.shards.iter().map(VecDeque::len).sum()
    }
}
