//! TCP sequence accounting over the borders of deltas: retransmissions and reordered segments of one direction.
//!
//! A meter counts both exactly within one *run* (a fresh slot and all that continues it). The truth is what one tracker would
//! have counted that saw the whole direction; `next` below is its highest sequence number plus one, which deltas give exactly.
//! A delta's counts are *certain* when the meter's tracker had to agree with that one:
//! * the run is the direction's first, or
//! * the run began with its lowest segment at or above `next` (so nothing before it could be repeated), and no segment of
//!   the delta lies below that point (`floor`): what the meter did not know, a gap that spans the border, is all below it.
//!
//! Certain counts are added. Anything else makes the direction inexact and adds only what is proven: when a fresh run lies
//! wholly below `next`, occupies sequence space, and no gap was open, then each of its counted segments, or at least one
//! segment, is a repeat. So the sums of an inexact direction are lower bounds. Deltas of several rings whose times overlap prove
//! nothing at all: what their tick has added is taken back.

use auscult_ebpf::record::{SEEN_GAP, SEEN_LOW, SEEN_SEQUENCE, Stack};

use crate::batch::Ring;

/// The direction's highest sequence number is known.
const KNOWN: u8 = 1;
/// `ring` is running a tracker for this direction.
const RUN: u8 = 2;
/// That tracker has not seen a segment yet.
const EMPTY: u8 = 4;
/// That tracker agrees with the true one, at `floor` and above.
const ALIGNED: u8 = 8;
/// `floor` is a bound (in the direction's first run there is none).
const FLOOR: u8 = 16;
/// The true tracker has no open gap.
const GAPLESS: u8 = 32;
/// Times overlapped in this tick.
const TAINTED: u8 = 64;

/// Distances above this are not trusted: numbers so far apart belong to two connections, or the order of three of them is not one.
const FAR: u32 = 1 << 30;

/// Whether `a` is before `b` (RFC 1982 arithmetic).
const fn before(a: u32, b: u32) -> bool {
    (a.wrapping_sub(b) as i32) < 0
}

/// One delta's view of one direction.
pub(super) struct Piece<'a> {
    pub(super) stack: &'a Stack,
    pub(super) ring: Ring,
    /// The meter's tracker goes on from the ring's delta before.
    pub(super) continues: bool,
    /// Low bits of the tick.
    pub(super) tick: u32,
    /// All packets are at or after the direction's packets so far.
    pub(super) in_order: bool,
    /// Some segment occupies sequence space.
    pub(super) occupies: bool,
}

/// What is known of one direction's sequence space, and its counts.
#[derive(Clone, Copy, Default)]
pub(super) struct Sequence {
    pub(super) retransmissions: u32,
    pub(super) out_of_order: u32,
    next: u32,
    /// `sequence_next` of the run's newest delta.
    tail: u32,
    floor: u32,
    tick: u32,
    /// Added in this tick.
    added: [u32; 2],
    ring: Ring,
    state: u8,
    pub(super) inexact: bool,
}

impl Sequence {
    /// The same knowledge with new counts.
    pub(super) fn next_segment(&self) -> Self {
        Self { retransmissions: 0, out_of_order: 0, added: [0; 2], inexact: false, ..*self }
    }

    fn is(&self, bits: u8) -> bool {
        self.state & bits == bits
    }

    /// A fresh run began on `ring` with a delta that has no packets of this direction.
    pub(super) fn restart(&mut self, ring: Ring) {
        if self.is(RUN) && self.ring == ring {
            self.state = self.state & !ALIGNED | EMPTY;
        }
    }

    pub(super) fn merge(&mut self, piece: &Piece<'_>) {
        if self.tick != piece.tick {
            self.tick = piece.tick;
            self.added = [0; 2];
            self.state &= !TAINTED;
        }
        let stack = piece.stack;
        let has_segments = stack.seen & (SEEN_LOW | SEEN_SEQUENCE) == SEEN_LOW | SEEN_SEQUENCE;
        if !piece.in_order || self.is(TAINTED) {
            return self.taint(piece, has_segments);
        }
        let counted = u32::from(stack.retransmissions) + u32::from(stack.out_of_order);
        let continues = piece.continues && self.is(RUN) && self.ring == piece.ring;
        if !has_segments {
            if !continues {
                self.state = self.state & !ALIGNED | RUN | EMPTY;
                self.ring = piece.ring;
            }
            self.inexact |= counted > 0;
            return;
        }
        let fresh = !piece.continues || continues && self.is(EMPTY);
        let (low, end) = (stack.sequence_low, stack.sequence_next);
        let mut proven = 0;
        let certain = if !self.is(KNOWN) {
            self.align((!fresh).then_some(end), true);
            fresh || counted == 0
        } else if continues && !fresh {
            self.go_on(low, counted)
        } else if fresh {
            let (certain, repeats) = self.begin(piece, counted);
            proven = repeats;
            certain
        } else {
            // Another ring's tracker, which remembers segments of its own.
            let near = low.wrapping_sub(self.next) < FAR && end.wrapping_sub(low) < FAR;
            let certain = near && counted == 0;
            if certain {
                self.align(Some(end), false)
            } else {
                self.state &= !(ALIGNED | GAPLESS)
            }
            certain
        };
        if certain {
            self.add(u32::from(stack.retransmissions), u32::from(stack.out_of_order));
        } else {
            self.inexact = true;
            self.add(proven, 0);
        }
        if stack.seen & SEEN_GAP != 0 {
            self.state &= !GAPLESS;
        }
        self.state = self.state & !EMPTY | RUN;
        self.ring = piece.ring;
        self.tail = end;
        if self.is(ALIGNED) {
            // Also when one delta goes so far that its end looks as if it were before `next`.
            self.next = end;
            self.state |= KNOWN;
        } else {
            self.know(end);
        }
    }

    /// A delta of the run that the last one belongs to; whether its counts are certain.
    fn go_on(&mut self, low: u32, counted: u32) -> bool {
        if self.is(ALIGNED) {
            if self.next.wrapping_sub(self.floor) > FAR {
                // A higher floor doubts more, never less, and stays comparable however long the connection is.
                self.floor = self.next.wrapping_sub(FAR / 2);
            }
            return counted == 0 || !self.is(FLOOR) || !before(low, self.floor);
        }
        let caught_up = self.tail == self.next && !before(low, self.next);
        if caught_up {
            self.align(Some(self.next), false);
        } else {
            self.state &= !GAPLESS;
        }
        caught_up
    }

    /// A fresh run behind an older one; whether its counts are certain, and else how many repeats are proven.
    fn begin(&mut self, piece: &Piece<'_>, counted: u32) -> (bool, u32) {
        let Stack { sequence_low: low, sequence_next: end, retransmissions, .. } = *piece.stack;
        if before(low, self.next) {
            self.state &= !ALIGNED;
            let repeats = self.is(GAPLESS) && !before(self.next, end) && piece.occupies;
            if !repeats {
                self.state &= !GAPLESS;
            }
            return (false, if repeats { counted.max(1) } else { 0 });
        }
        if retransmissions == 0 && low.wrapping_sub(self.next) < FAR && end.wrapping_sub(low) < FAR {
            self.align(Some(low), self.is(GAPLESS) && low == self.next);
            return (true, 0);
        }
        // Which of them came before the lowest segment cannot be told.
        self.align(Some(end), false);
        (false, 0)
    }

    fn align(&mut self, floor: Option<u32>, gapless: bool) {
        self.state = self.state & !(FLOOR | GAPLESS) | ALIGNED;
        if let Some(floor) = floor {
            self.floor = floor;
            self.state |= FLOOR;
        }
        if gapless {
            self.state |= GAPLESS;
        }
    }

    /// Times overlap: no tracker of this tick knows the order.
    fn taint(&mut self, piece: &Piece<'_>, has_segments: bool) {
        self.retransmissions -= self.added[0];
        self.out_of_order -= self.added[1];
        self.added = [0; 2];
        self.inexact = true;
        self.state = self.state & !(RUN | EMPTY | ALIGNED | GAPLESS) | TAINTED;
        if has_segments {
            self.know(piece.stack.sequence_next);
        }
    }

    fn know(&mut self, end: u32) {
        if !self.is(KNOWN) || before(self.next, end) {
            self.next = end;
            self.state |= KNOWN;
        }
    }

    fn add(&mut self, retransmissions: u32, out_of_order: u32) {
        self.retransmissions += retransmissions;
        self.out_of_order += out_of_order;
        self.added[0] += retransmissions;
        self.added[1] += out_of_order;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRESH: bool = false;
    const CONTINUES: bool = true;

    /// (continues, ring, low, end, retransmissions, out of order, gap)
    type Row = (bool, Ring, u32, u32, u16, u16, bool);

    fn run(rows: &[Row]) -> (u32, u32, bool) {
        let mut sequence = Sequence::default();
        for (tick, &(continues, ring, low, end, retransmissions, out_of_order, gap)) in rows.iter().enumerate() {
            let seen = SEEN_LOW | SEEN_SEQUENCE | if gap { SEEN_GAP } else { 0 };
            let stack = Stack { sequence_low: low, sequence_next: end, retransmissions, out_of_order, seen, ..Stack::default() };
            let tick = tick as u32;
            sequence.merge(&Piece { stack: &stack, ring, continues, tick, in_order: true, occupies: true });
        }
        (sequence.retransmissions, sequence.out_of_order, !sequence.inexact)
    }

    #[test]
    fn one_run_is_exact() {
        assert_eq!(run(&[(FRESH, 0, 100, 200, 2, 1, false), (CONTINUES, 0, 120, 300, 3, 1, true)]), (5, 2, true));
    }

    #[test]
    fn a_run_goes_as_far_as_its_tracker_says() {
        // Two steps ahead of less than 2^31 each, in one delta; then a fresh run below that.
        let (a, b) = (3_065_809_543, 1_389_828_650);
        let start = [(FRESH, 0, a - 1, a, 0, 0, false), (CONTINUES, 0, 807_420_499, b, 0, 0, true)];
        assert_eq!(run(&start), (0, 0, true));
        assert_eq!(run(&[start[0], start[1], (FRESH, 0, 3_735_503_728, 3_735_503_729, 0, 0, false)]), (0, 0, false));
    }

    #[test]
    fn a_fresh_run_above_all_is_exact_also_over_the_wrap() {
        assert_eq!(run(&[(FRESH, 0, u32::MAX - 9, 5, 1, 0, false), (FRESH, 0, 5, 90, 0, 2, false)]), (1, 2, true));
        assert_eq!(run(&[(FRESH, 0, 0, 50, 0, 0, false), (FRESH, 1, 60, 90, 0, 0, false)]), (0, 0, true));
    }

    #[test]
    fn a_repeat_over_the_border_is_proven_without_a_gap_only() {
        assert_eq!(run(&[(FRESH, 0, 0, 50, 0, 0, false), (FRESH, 0, 10, 50, 0, 0, false)]), (1, 0, false));
        assert_eq!(run(&[(FRESH, 0, 0, 50, 0, 0, false), (FRESH, 0, 10, 50, 2, 1, false)]), (3, 0, false));
        assert_eq!(run(&[(FRESH, 0, 0, 50, 0, 0, true), (FRESH, 0, 10, 50, 0, 0, false)]), (0, 0, false));
        assert_eq!(run(&[(FRESH, 0, 0, 50, 0, 0, false), (FRESH, 0, 10, 60, 0, 0, false)]), (0, 0, false));
    }

    #[test]
    fn counts_below_the_floor_are_not_certain() {
        let start = [(FRESH, 0, 0, 50, 0, 0, false), (FRESH, 0, 70, 90, 0, 0, false)];
        assert_eq!(run(&[start[0], start[1], (CONTINUES, 0, 75, 95, 1, 0, false)]), (1, 0, true));
        assert_eq!(run(&[start[0], start[1], (CONTINUES, 0, 60, 95, 1, 0, false)]), (0, 0, false));
    }

    #[test]
    fn another_ring_that_remembers_is_certain_only_when_it_counts_nothing() {
        let start = [(FRESH, 0, 0, 50, 0, 0, false), (FRESH, 1, 50, 90, 0, 0, false)];
        assert_eq!(run(&[start[0], start[1], (CONTINUES, 0, 90, 99, 0, 0, false)]), (0, 0, true));
        assert_eq!(run(&[start[0], start[1], (CONTINUES, 0, 90, 99, 0, 1, false)]), (0, 0, false));
    }
}
