//! Epochs of all shards in, batches out, in an order that does not depend on the number of shards.

use std::{cmp::Reverse, collections::VecDeque};

use super::{Epoch, Part};
use crate::flow::{Flow, FlowBatch};

/// Joins the epochs of the shards. When every shard has given an epoch, those with the lowest watermark become one batch: a shard
/// that saw the Marks of several rings in another order has watermarks of its own, and none of them can be overtaken. Epochs in
/// parts become as many batches as keep the order of their rows.
pub struct Merge {
    shards: Vec<VecDeque<Epoch>>,
    /// Nothing more comes of these.
    ended: Vec<bool>,
    early: VecDeque<Epoch>,
}

impl Merge {
    /// A merge of that many shards.
    pub fn new(shards: usize) -> Self {
        Self { shards: (0..shards).map(|_| VecDeque::new()).collect(), ended: vec![false; shards], early: VecDeque::new() }
    }

    /// Takes the next epoch of a shard. A shard that does not exist is ignored.
    pub fn push(&mut self, shard: usize, epoch: Epoch) {
        let Some(queue) = self.shards.get_mut(shard) else { return };
        if epoch.part == Part::Early { self.early.push_back(epoch) } else { queue.push_back(epoch) }
    }

    /// Nothing more comes of this shard: the others need not wait for it.
    pub fn end(&mut self, shard: usize) {
        if let Some(ended) = self.ended.get_mut(shard) {
            *ended = true;
        }
    }

    /// Whether the next batch needs an epoch of this shard.
    pub fn lacks(&self, shard: usize) -> bool {
        self.shards.get(shard).is_some_and(VecDeque::is_empty) && !self.ended[shard]
    }

    /// The next complete batch; `None` until a slower shard catches up.
    pub fn next_batch(&mut self) -> Option<FlowBatch> {
        if let Some(epoch) = self.early.pop_front() {
            return Some(FlowBatch::new(epoch.rows, epoch.settled));
        }
        let turn_of = |epoch: &Epoch| (epoch.era, epoch.watermark, epoch.span);
        let mut least = None;
        for (queue, ended) in self.shards.iter().zip(&self.ended) {
            let Some(front) = queue.front() else {
                if *ended {
                    continue;
                }
                return None;
            };
            least = least.max(Some(Reverse(turn_of(front))));
        }
        let Reverse(turn) = least?;
        let fronts = || self.shards.iter().filter_map(VecDeque::front).filter(|epoch| turn_of(epoch) == turn);
        // What comes behind the first part that ends may be overtaken by the next part.
        let unfinished = fronts().filter(|epoch| epoch.part == Part::Next);
        let limit = unfinished.filter_map(|epoch| epoch.rows.last()).map(Flow::sort_key).min();
        let (mut rows, mut watermark) = (Vec::new(), 0);
        for queue in &mut self.shards {
            let Some(epoch) = queue.front_mut().filter(|epoch| turn_of(epoch) == turn) else { continue };
            watermark = epoch.settled;
            let ready = limit.map_or(epoch.rows.len(), |limit| up_to(&mut epoch.rows, limit));
            if rows.is_empty() && ready == epoch.rows.len() {
                rows = std::mem::take(&mut epoch.rows);
            } else {
                rows.extend(epoch.rows.drain(..ready));
            }
            if epoch.rows.is_empty() && (epoch.part == Part::Next || limit.is_none()) {
                queue.pop_front();
            }
        }
        Some(FlowBatch::new(rows, watermark))
    }

    /// Epochs that wait for a slower shard.
    pub fn waiting(&self) -> usize {
        self.shards.iter().map(VecDeque::len).sum::<usize>() + self.early.len()
    }
}

/// Puts rows in order; how many of them are not behind `limit`.
fn up_to(rows: &mut [Flow], limit: (i64, u64, u32)) -> usize {
    if !rows.is_sorted_by_key(Flow::sort_key) {
        rows.sort_by_key(Flow::sort_key);
    }
    rows.partition_point(|row| row.sort_key() <= limit)
}
