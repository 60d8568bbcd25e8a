//! What the references of deltas to encapsulations mean.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::Arc,
};

use auscult_ebpf::record::{FORM_IPV4, FORM_IPV6, Tunnel, TunnelLayer, TunnelPath};

use crate::flow::{TunnelEnds, Tunnels};

/// Paths of one generation: more than a site's overlays have. Who forges more loses the addresses of the oldest.
const PATHS_MAX: usize = 1 << 14;

/// The newest paths, in two generations: when one is full, the one before is forgotten.
#[derive(Default)]
pub(super) struct TunnelPaths {
    newest: HashMap<u64, Arc<Tunnels>>,
    older: HashMap<u64, Arc<Tunnels>>,
}

impl TunnelPaths {
    /// Most memory, bytes: both generations, in tables that are at least half full, and one of them while it grows.
    pub(super) const BOUND: usize =
        2 * PATHS_MAX * (Tunnels::SHARED_BYTES + 3 * (size_of::<u64>() + size_of::<Arc<Tunnels>>() + 1));

    /// Learns what a reference means.
    pub(super) fn learn(&mut self, path: &TunnelPath) {
        if self.newest.contains_key(&path.reference) {
            return;
        }
        let Some(outer) = ends(&path.layers[0]) else { return };
        if self.newest.len() >= PATHS_MAX {
            self.older = std::mem::take(&mut self.newest);
        }
        self.newest.insert(path.reference, Arc::new(Tunnels { outer, inner: ends(&path.layers[1]) }));
    }

    /// What a reference means; the kinds alone when no more is known of it.
    pub(super) fn find(&self, reference: u64) -> Option<Arc<Tunnels>> {
        if reference == 0 {
            return None;
        }
        let known = self.newest.get(&reference).or_else(|| self.older.get(&reference));
        known.cloned().or_else(|| {
            let bare = |kind: u64| Some(TunnelEnds { kind: Tunnel::from_number(kind as u8 & 15)?, addresses: None, id: None });
            Some(Arc::new(Tunnels { outer: bare(reference)?, inner: bare(reference >> 4) }))
        })
    }

    /// Bytes.
    pub(super) fn memory_bytes(&self) -> usize {
        let entry = size_of::<(u64, Arc<Tunnels>)>() + 1;
        let path = size_of::<Tunnels>() + 2 * size_of::<usize>();
        (self.newest.capacity() + self.older.capacity()) * entry + (self.newest.len() + self.older.len()) * path
    }
}

fn ends(layer: &TunnelLayer) -> Option<TunnelEnds> {
    let address = |octets: [u8; 16]| {
        let [a, b, c, d, ..] = octets;
        match layer.form {
            FORM_IPV4 => Some(IpAddr::V4(Ipv4Addr::new(a, b, c, d))),
            FORM_IPV6 => Some(IpAddr::V6(Ipv6Addr::from(octets))),
            _ => None,
        }
    };
    Some(TunnelEnds {
        kind: Tunnel::from_number(layer.kind)?,
        addresses: address(layer.source).zip(address(layer.target)).map(|(source, target)| [source, target]),
        id: (layer.has_id != 0).then_some(layer.id),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(number: u32) -> TunnelPath {
        let outer = TunnelLayer {
            source: [10, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
            form: FORM_IPV4,
            id: number,
            kind: Tunnel::Vxlan as u8,
            has_id: 1,
            ..TunnelLayer::default()
        };
        let reference = u64::from(number) << 8 | u64::from(outer.kind);
        TunnelPath { reference, layers: [outer, TunnelLayer::default()], ..TunnelPath::default() }
    }

    #[test]
    fn a_reference_means_what_was_learnt_and_its_kinds_before() {
        let mut paths = TunnelPaths::default();
        let known = path(7);
        let nested = known.reference | (Tunnel::Gre as u64) << 4;
        let before = paths.find(nested).expect("kinds");
        assert_eq!((before.outer.kind, before.outer.id), (Tunnel::Vxlan, None));
        assert_eq!(before.inner.map(|inner| inner.kind), Some(Tunnel::Gre));
        paths.learn(&known);
        let found = paths.find(known.reference).expect("known");
        assert_eq!((found.outer.id, found.inner), (Some(7), None));
        assert_eq!(found.outer.addresses, Some([IpAddr::from([10, 0, 0, 1]), IpAddr::from([0, 0, 0, 0])]));
        assert_eq!(paths.find(0), None);
    }

    #[test]
    fn a_flood_of_paths_is_bounded_and_spares_the_newest() {
        let mut paths = TunnelPaths::default();
        for number in 0..3 * PATHS_MAX as u32 {
            paths.learn(&path(number));
        }
        assert!(paths.newest.len() <= PATHS_MAX && paths.older.len() <= PATHS_MAX);
        let id = |number: u32| paths.find(path(number).reference).and_then(|tunnels| tunnels.outer.id);
        assert_eq!(id(3 * PATHS_MAX as u32 - 1), Some(3 * PATHS_MAX as u32 - 1));
        assert_eq!(id(0), None);
    }
}
