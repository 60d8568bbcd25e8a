//! What a table knows of the rings that its deltas come through.

/// One ring.
#[derive(Clone, Copy)]
pub(super) struct RingClock {
    /// Its newest Mark.
    pub(super) mark: Option<u64>,
    /// UTC less observation clock, at that Mark.
    pub(super) utc_offset: i64,
    /// More comes of it.
    pub(super) open: bool,
}

/// Ends every ring; whether any was open.
pub(super) fn close_all(rings: &mut [RingClock]) -> bool {
    let any = rings.iter().any(|ring| ring.open);
    rings.iter_mut().for_each(|ring| ring.open = false);
    any
}
