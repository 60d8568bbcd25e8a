//! Which flow a datagram's first fragment belonged to, for the flow of its later fragments.

use auscult_ebpf::record::FlowKey;

use super::identity::KeyHash;

/// Datagrams remembered per shard; a newer one takes the place of an older one with the same hash bits.
const LINKS: usize = 1 << 13;

/// Flow ids by addresses, protocol and IP identification.
pub(super) struct FragmentLinks {
    hash: KeyHash,
    /// Hash and flow id; empty until the first fragment comes.
    links: Vec<(u64, u64)>,
}

impl FragmentLinks {
    /// The hash is seeded by a constant, so that rows do not depend on the table's seed.
    pub(super) fn new() -> Self {
        Self { hash: KeyHash::new(0), links: Vec::new() }
    }

    fn tag(&self, key: &FlowKey, identification: u32) -> u64 {
        let port = [identification as u16, (identification >> 16) as u16];
        self.hash.of(&FlowKey { address: key.address, port, protocol: key.protocol, form: 0, scope: 0 }).max(1)
    }

    /// The first fragment of `identification` was seen in flow `flow_id`.
    pub(super) fn remember(&mut self, key: &FlowKey, identification: u32, flow_id: u64) {
        if self.links.is_empty() {
            self.links = vec![(0, 0); LINKS];
        }
        let tag = self.tag(key, identification);
        self.links[tag as usize % LINKS] = (tag, flow_id);
    }

    /// The flow that the first fragment of `identification` was seen in.
    pub(super) fn find(&self, key: &FlowKey, identification: u32) -> Option<u64> {
        let tag = self.tag(key, identification);
        self.links.get(tag as usize % LINKS).filter(|link| link.0 == tag).map(|link| link.1)
    }

    pub(super) fn clear(&mut self) {
        self.links.clear();
    }

    /// Most memory, bytes.
    pub(super) const BOUND: usize = LINKS * size_of::<(u64, u64)>();

    /// Memory, bytes.
    pub(super) fn memory_bytes(&self) -> usize {
        self.links.capacity() * size_of::<(u64, u64)>()
    }
}
