//! The bytes of a BPF object → its code sections, its maps, and how it differs from another.

use std::collections::BTreeMap;
use std::fmt;

use anyhow::{Context, Result};
use object::{Object as _, ObjectSection as _, SectionKind};
use serde::{Deserialize, Serialize};

/// What of an object the kernel gets to see, by name.
pub struct Image {
    sections: BTreeMap<String, Section>,
    /// Its maps.
    pub maps: BTreeMap<String, MapSize>,
}

struct Section {
    kind: SectionKind,
    bytes: Vec<u8>,
}

/// The dimensions of a map as the object asks for them; the engine may set others at load.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MapSize {
    /// `BPF_MAP_TYPE_*`, as a number.
    pub map_type: u32,
    /// Octets of a key.
    pub key_bytes: u32,
    /// Octets of a value.
    pub value_bytes: u32,
    /// Entries, or octets for a ring buffer.
    pub max_entries: u32,
}

impl fmt::Display for MapSize {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { map_type, key_bytes, value_bytes, max_entries } = self;
        write!(formatter, "type {map_type}, key {key_bytes} bytes, value {value_bytes} bytes, {max_entries} entries")
    }
}

impl Image {
    /// Reads an object.
    pub fn read(bytes: &[u8]) -> Result<Self> {
        let file = object::File::parse(bytes).context("the object is not an ELF file")?;
        let mut sections = BTreeMap::new();
        for section in file.sections() {
            let bytes = section.data().context("a section lies outside of the object")?.to_vec();
            sections.insert(section.name().context("a section has no name")?.to_owned(), Section { kind: section.kind(), bytes });
        }
        let parsed = aya_obj::Object::parse(bytes).context("aya cannot read the object")?;
        let size = |map: &aya_obj::Map| MapSize {
            map_type: map.map_type(),
            key_bytes: map.key_size(),
            value_bytes: map.value_size(),
            max_entries: map.max_entries(),
        };
        Ok(Self { sections, maps: parsed.maps.iter().map(|(name, map)| (name.clone(), size(map))).collect() })
    }

    /// Sections that hold code, with their size in bytes.
    pub fn code_sections(&self) -> impl Iterator<Item = (&str, usize)> {
        let has_code = |section: &Section| section.kind == SectionKind::Text && !section.bytes.is_empty();
        self.sections
            .iter()
            .filter(move |(_, section)| has_code(section))
            .map(|(name, section)| (name.as_str(), section.bytes.len()))
    }

    /// The size of a section in bytes, 0 when there is none of that name.
    pub fn size_of(&self, name: &str) -> usize {
        self.sections.get(name).map_or(0, |section| section.bytes.len())
    }

    /// Names of sections whose code or data differ, and of maps whose dimensions do. Symbols, strings and BTF may differ:
    /// they hold crates' hashes.
    pub fn differing_sections(&self, other: &Self) -> Vec<String> {
        let counts = |section: &Section| {
            matches!(
                section.kind,
                SectionKind::Text | SectionKind::Data | SectionKind::ReadOnlyData | SectionKind::UninitializedData
            )
        };
        let is_metadata = |name: &str| name.starts_with(".BTF") || name.starts_with(".debug") || name.starts_with(".rel");
        let mut differing: Vec<_> = union(&self.sections, &other.sections)
            .filter(|name| !is_metadata(name))
            .filter(|name| {
                let both = [self, other].map(|image| image.sections.get(*name).filter(|section| counts(section)));
                both[0].map(|section| &section.bytes) != both[1].map(|section| &section.bytes)
            })
            .cloned()
            .collect();
        differing.extend(union(&self.maps, &other.maps).filter(|name| self.maps.get(*name) != other.maps.get(*name)).cloned());
        differing
    }
}

fn union<'a, T>(one: &'a BTreeMap<String, T>, other: &'a BTreeMap<String, T>) -> impl Iterator<Item = &'a String> {
    one.keys().chain(other.keys().filter(|name| !one.contains_key(*name)))
}
