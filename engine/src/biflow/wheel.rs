//! Timers of the table: one per flow, in buckets by tick, re-armed lazily.
//!
//! A bucket is a doubly linked list through an array that runs parallel to the slab, so that arming, disarming and firing are
//! O(1) and memory is twelve octets a flow whatever happens. Nobody moves a timer when a packet comes: whoever takes a timer
//! that is due looks at the flow and arms it again.

use super::bound::grown;

const NONE: u32 = u32::MAX;
/// Most buckets; a deadline behind the horizon is armed at the horizon and again when that is reached.
const BUCKETS_MAX: u64 = 1 << 14;

#[derive(Clone, Copy)]
struct Node {
    previous: u32,
    next: u32,
    /// Bucket the node is in, or `NONE`.
    bucket: u32,
}

#[derive(Clone, Copy)]
struct Ends {
    head: u32,
    tail: u32,
}

/// See the module text.
pub(super) struct Wheel {
    buckets: Vec<Ends>,
    nodes: Vec<Node>,
    /// First tick that has not fired.
    now: u64,
    /// No bucket from `now` up to this tick holds a timer.
    hint: u64,
    armed: usize,
}

impl Wheel {
    /// A wheel for deadlines up to about `horizon` ticks ahead.
    pub(super) fn new(horizon: u64) -> Self {
        let buckets = horizon.saturating_add(16).min(BUCKETS_MAX).next_power_of_two();
        Self { buckets: vec![Ends { head: NONE, tail: NONE }; buckets as usize], nodes: Vec::new(), now: 0, hint: 0, armed: 0 }
    }

    /// Forgets all timers and begins anew at tick zero.
    pub(super) fn clear(&mut self) {
        self.buckets.fill(Ends { head: NONE, tail: NONE });
        self.nodes.clear();
        (self.now, self.hint, self.armed) = (0, 0, 0);
    }

    /// (Re-)arms the timer of `index` for `tick`. `present` is the tick in which its owner lives: an empty wheel turns there.
    pub(super) fn arm(&mut self, index: u32, tick: u64, present: u64) {
        self.disarm(index);
        if self.armed == 0 && present > self.now {
            (self.now, self.hint) = (present, present);
        }
        let tick = tick.clamp(self.now, self.now + self.buckets.len() as u64 - 1);
        self.hint = self.hint.min(tick);
        let bucket = (tick % self.buckets.len() as u64) as usize;
        if self.nodes.len() <= index as usize {
            self.nodes.resize(index as usize + 1, Node { previous: NONE, next: NONE, bucket: NONE });
        }
        let ends = &mut self.buckets[bucket];
        self.nodes[index as usize] = Node { previous: ends.tail, next: NONE, bucket: bucket as u32 };
        match ends.tail {
            NONE => ends.head = index,
            tail => self.nodes[tail as usize].next = index,
        }
        ends.tail = index;
        self.armed += 1;
    }

    /// Takes the timer of `index` away, if it has one.
    pub(super) fn disarm(&mut self, index: u32) {
        let Some(node) = self.nodes.get_mut(index as usize).filter(|node| node.bucket != NONE) else { return };
        let Node { previous, next, bucket } = *node;
        node.bucket = NONE;
        match previous {
            NONE => self.buckets[bucket as usize].head = next,
            previous => self.nodes[previous as usize].next = next,
        }
        match next {
            NONE => self.buckets[bucket as usize].tail = previous,
            next => self.nodes[next as usize].previous = previous,
        }
        self.armed -= 1;
    }

    /// Disarms all timers of ticks before `limit` and appends their owners to `due`, earliest tick first.
    pub(super) fn take_before(&mut self, limit: u64, due: &mut Vec<u32>) {
        let turn = limit.min(self.now.saturating_add(self.buckets.len() as u64));
        for tick in self.now..turn {
            let bucket = (tick % self.buckets.len() as u64) as usize;
            let mut index = std::mem::replace(&mut self.buckets[bucket], Ends { head: NONE, tail: NONE }).head;
            while index != NONE {
                let node = &mut self.nodes[index as usize];
                node.bucket = NONE;
                due.push(index);
                index = node.next;
                self.armed -= 1;
            }
        }
        self.now = self.now.max(limit);
        self.hint = self.hint.max(self.now);
    }

    /// Owner and tick of a timer that fires before all others do, oldest arming first.
    pub(super) fn earliest(&mut self) -> Option<(u32, u64)> {
        if self.armed == 0 {
            return None;
        }
        for tick in self.hint..self.now + self.buckets.len() as u64 {
            let head = self.buckets[(tick % self.buckets.len() as u64) as usize].head;
            if head != NONE {
                self.hint = tick;
                return Some((head, tick));
            }
        }
        None
    }

    /// Most memory of that many timers, bytes.
    pub(super) const fn bound(timers: usize) -> usize {
        BUCKETS_MAX as usize * size_of::<Ends>() + grown(timers) * size_of::<Node>()
    }

    /// Memory, bytes.
    pub(super) fn memory_bytes(&self) -> usize {
        self.buckets.capacity() * size_of::<Ends>() + self.nodes.capacity() * size_of::<Node>()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn due(wheel: &mut Wheel, limit: u64) -> Vec<u32> {
        let mut due = Vec::new();
        wheel.take_before(limit, &mut due);
        due
    }

    #[test]
    fn fires_in_order_and_not_early() {
        let mut wheel = Wheel::new(40);
        for (index, tick) in [(0, 30), (1, 10), (2, 10), (3, 29)] {
            wheel.arm(index, tick, 0);
        }
        assert!(due(&mut wheel, 10).is_empty());
        assert_eq!(due(&mut wheel, 11), [1, 2]);
        wheel.arm(0, 50, 0);
        wheel.disarm(3);
        assert!(due(&mut wheel, 50).is_empty());
        assert_eq!(wheel.earliest(), Some((0, 50)));
        assert_eq!(due(&mut wheel, 51), [0]);
        assert_eq!(wheel.earliest(), None);
    }

    #[test]
    fn an_empty_wheel_turns_to_the_present_and_leaps_cost_one_turn() {
        let mut wheel = Wheel::new(1);
        wheel.arm(5, 3_000_000_010, 3_000_000_002);
        assert_eq!(wheel.earliest(), Some((5, 3_000_000_010)));
        assert_eq!(due(&mut wheel, u64::MAX - 1000), [5]);
    }

    #[test]
    fn a_deadline_behind_the_horizon_comes_back_early() {
        let mut wheel = Wheel::new(0);
        wheel.arm(0, 1000, 0);
        assert!(due(&mut wheel, 15).is_empty());
        assert_eq!(due(&mut wheel, 16), [0]);
    }

    #[derive(Clone, Debug)]
    enum Step {
        Arm(u32, u64),
        Disarm(u32),
        Advance(u64),
    }

    proptest! {
        /// Against a sorted map, with all deadlines inside the horizon.
        #[test]
        fn equals_a_sorted_map(steps in prop::collection::vec(prop_oneof![
            (0..20u32, 0..60u64).prop_map(|(i, t)| Step::Arm(i, t)),
            (0..20u32).prop_map(Step::Disarm),
            (0..50u64).prop_map(Step::Advance),
        ], 0..200)) {
            let (mut wheel, mut model, mut now) = (Wheel::new(60), BTreeMap::new(), 0u64);
            for step in steps {
                match step {
                    Step::Arm(index, ahead) => {
                        wheel.arm(index, now + ahead, 0);
                        model.insert(index, now + ahead);
                    }
                    Step::Disarm(index) => {
                        wheel.disarm(index);
                        model.remove(&index);
                    }
                    Step::Advance(by) => {
                        now += by;
                        let mut fired = due(&mut wheel, now);
                        fired.sort_unstable();
                        let expected: Vec<u32> = model.iter().filter(|(_, tick)| **tick < now).map(|(index, _)| *index).collect();
                        prop_assert_eq!(fired, expected);
                        model.retain(|_, tick| *tick >= now);
                    }
                }
                prop_assert_eq!(wheel.earliest().map(|(_, tick)| tick), model.values().min().copied());
            }
        }
    }
}
