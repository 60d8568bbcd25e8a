//! Pages and what files say of them, recomputed from the values that another reader of the format gives back.

use std::{
    collections::BTreeMap,
    fs::File,
    net::{Ipv4Addr, Ipv6Addr},
    ops::Range,
    path::Path,
};

use parquet::{
    basic::{BoundaryOrder, SortOrder},
    column::reader::{ColumnReader, ColumnReaderImpl},
    data_type::DataType,
    file::{
        metadata::ColumnChunkMetaData,
        page_index::column_index::ColumnIndexMetaData,
        reader::{FileReader, RowGroupReader},
        serialized_reader::{ReadOptionsBuilder, SerializedFileReader},
    },
};
use proptest::prelude::*;

use super::{SECOND, T, batch, full, points, tree};
use crate::{
    flow::{Address, Direction, FirstPacket, Flow, Mac, ObservationPoint, Side},
    lake::{
        LakeSettings, Query, TableName, Writer, coverage_table, flow_table,
        read::{JsonRow, rows},
        schema::Table,
    },
};

/// Numbers of every length, so that small and great ones are common alike.
fn wide() -> impl Strategy<Value = u64> {
    (any::<u64>(), 0..64u32).prop_map(|(bits, shift)| bits >> shift)
}

fn address() -> impl Strategy<Value = Address> {
    prop_oneof![
        any::<u32>().prop_map(|bits| Address::V4(Ipv4Addr::from_bits(bits))),
        any::<u128>().prop_map(|bits| Address::V6(Ipv6Addr::from_bits(bits))),
        Just(Address::V4(Ipv4Addr::LOCALHOST)),
        (0..4u8).prop_map(|last| Address::Link(Some(Mac([2, 0, 0, 0, 0, last])))),
        Just(Address::Link(None)),
    ]
}

fn side(base: Side) -> impl Strategy<Value = Side> {
    let sums = (prop_oneof![Just(0), wide()], wide(), wide());
    let numbers = (prop::array::uniform8(any::<u32>()), 0.0..f64::MAX, any::<[bool; 5]>(), 0..3u32);
    (sums, numbers).prop_map(
        move |((packets, octets, duration), (histogram, size_std, [order, tcp, syn, vlan, tunnel], point))| {
            let mut side = Side { packets, octets, histogram, size_std, observation_point: Some(point), ..base.clone() };
            side.last = side.first.saturating_add(duration.cast_signed() >> 1);
            side.intervals = side.intervals.filter(|_| order);
            side.tcp = side.tcp.filter(|_| tcp).map(|mut tcp| {
                tcp.handshake = tcp.handshake.filter(|_| syn);
                tcp
            });
            side.vlan_id = side.vlan_id.filter(|_| vlan);
            side.tunnels = side.tunnels.filter(|_| tunnel);
            side
        },
    )
}

prop_compose! {
    fn flow()(
        start in prop_oneof![T - SECOND..T + SECOND, -(1i64 << 61)..1i64 << 61],
        addresses in (address(), address()),
        ports in (any::<Option<u16>>(), any::<Option<u16>>()),
        forward in side(full().side.0[0].clone()),
        reverse in side(full().side.0[1].clone()),
        known in any::<[bool; 4]>(),
        rtt in any::<Option<u64>>(),
        first in prop::collection::vec((any::<u16>(), any::<bool>()), 0..=8),
    ) -> Flow {
        let mut flow = full();
        flow.start = start;
        let [one, other] = &mut flow.endpoint.0;
        ((one.address, other.address), (one.port, other.port)) = (addresses, ports);
        flow.side.0 = [forward, reverse].map(|side| Side { first: start, last: start + (side.last - side.first) / 4, ..side });
        flow.protocol = flow.protocol.filter(|_| known[0]);
        flow.community_id = flow.community_id.filter(|_| known[1]);
        flow.icmp_type = flow.icmp_type.filter(|_| known[2]);
        flow.fragment_of = flow.fragment_of.filter(|_| known[3]);
        flow.handshake_rtt_responder = rtt;
        flow.first_packets = [None; 8];
        for (nth, (size, is_forward)) in first.into_iter().enumerate() {
            let direction = if is_forward { Direction::Forward } else { Direction::Reverse };
            flow.first_packets[nth] = Some(FirstPacket { at: start + nth as i64 * 7, size, direction });
        }
        flow
    }
}

fn write(directory: &Path, flows: &[Flow], settings: &LakeSettings, points: &[ObservationPoint]) {
    let mut writer = Writer::open(directory, "ward-3", settings, "test").unwrap();
    writer.flows(&batch(flows.to_vec(), 0), points).unwrap();
    writer.close().1.unwrap();
}

fn by_id(directory: &Path) -> BTreeMap<String, JsonRow> {
    let rows = rows(directory, &Query::all(TableName::Flows)).unwrap();
    rows.into_iter().map(|row| (row["flow_id"].to_string(), row)).collect()
}

/// Values of a column chunk that can be put in order.
#[derive(Debug)]
enum Values {
    Numbers(Vec<i128>),
    Reals(Vec<f64>),
    Texts(Vec<Vec<u8>>),
}

/// A column chunk as it was read.
struct Read {
    values: Values,
    definition: Vec<i16>,
    rows: usize,
}

fn records<D: DataType>(mut reader: ColumnReaderImpl<D>, rows: usize) -> (Vec<D::T>, Vec<i16>, usize) {
    let (mut values, mut definition, mut repetition) = (Vec::new(), Vec::new(), Vec::new());
    let (read, _, _) = reader.read_records(rows, Some(&mut definition), Some(&mut repetition), &mut values).unwrap();
    if definition.is_empty() {
        definition = vec![0; values.len()];
    }
    (values, definition, read)
}

fn read(group: &dyn RowGroupReader, place: usize, rows: usize) -> Read {
    let is_unsigned = group.metadata().column(place).column_descr().sort_order() == SortOrder::UNSIGNED;
    let number = |value: i32| if is_unsigned { value.cast_unsigned().into() } else { value.into() };
    let (values, definition, rows) = match group.get_column_reader(place).unwrap() {
        ColumnReader::BoolColumnReader(reader) => {
            let (values, definition, rows) = records(reader, rows);
            (Values::Numbers(values.into_iter().map(i128::from).collect()), definition, rows)
        }
        ColumnReader::Int32ColumnReader(reader) => {
            let (values, definition, rows) = records(reader, rows);
            (Values::Numbers(values.into_iter().map(number).collect()), definition, rows)
        }
        ColumnReader::Int64ColumnReader(reader) => {
            let (values, definition, rows) = records(reader, rows);
            (Values::Numbers(values.into_iter().map(i128::from).collect()), definition, rows)
        }
        ColumnReader::DoubleColumnReader(reader) => {
            let (values, definition, rows) = records(reader, rows);
            (Values::Reals(values), definition, rows)
        }
        ColumnReader::ByteArrayColumnReader(reader) => {
            let (values, definition, rows) = records(reader, rows);
            (Values::Texts(values.into_iter().map(|text| text.data().to_vec()).collect()), definition, rows)
        }
        _ => panic!("no column is stored so"),
    };
    Read { values, definition, rows }
}

impl Values {
    fn less(&self, one: usize, other: usize) -> bool {
        match self {
            Self::Numbers(values) => values[one] < values[other],
            Self::Reals(values) => values[one] < values[other],
            Self::Texts(values) => values[one] < values[other],
        }
    }

    /// Places of the least and the greatest.
    fn extremes(&self, range: Range<usize>) -> Option<(usize, usize)> {
        let least = range.clone().reduce(|a, b| if self.less(b, a) { b } else { a })?;
        let greatest = range.reduce(|a, b| if self.less(a, b) { b } else { a })?;
        Some((least, greatest))
    }

    /// Whether the bounds that the index has for a page are the values at those places.
    fn are_bounds(&self, index: &ColumnIndexMetaData, page: usize, (least, greatest): (usize, usize), unsigned: bool) -> bool {
        let number = |value: &i32| if unsigned { value.cast_unsigned().into() } else { i128::from(*value) };
        match (self, index) {
            (Self::Numbers(values), ColumnIndexMetaData::BOOLEAN(index)) => {
                let bounds = [index.min_value(page), index.max_value(page)].map(|bound| bound.map(|flag| i128::from(*flag)));
                bounds == [Some(values[least]), Some(values[greatest])]
            }
            (Self::Numbers(values), ColumnIndexMetaData::INT32(index)) => {
                let bounds = [index.min_value(page), index.max_value(page)].map(|bound| bound.map(number));
                bounds == [Some(values[least]), Some(values[greatest])]
            }
            (Self::Numbers(values), ColumnIndexMetaData::INT64(index)) => {
                let bounds = [index.min_value(page), index.max_value(page)].map(|bound| bound.map(|value| i128::from(*value)));
                bounds == [Some(values[least]), Some(values[greatest])]
            }
            (Self::Reals(values), ColumnIndexMetaData::DOUBLE(index)) => {
                [index.min_value(page), index.max_value(page)] == [Some(&values[least]), Some(&values[greatest])]
            }
            (Self::Texts(values), ColumnIndexMetaData::BYTE_ARRAY(index)) => {
                [index.min_value(page), index.max_value(page)] == [Some(&values[least][..]), Some(&values[greatest][..])]
            }
            _ => false,
        }
    }
}

/// Compares everything that a file says of its pages with their values; how many pages have bounds.
fn check_file(path: &Path) -> usize {
    let options = ReadOptionsBuilder::new().with_page_index().build();
    let file = SerializedFileReader::new_with_options(File::open(path).unwrap(), options).unwrap();
    let mut bounded = 0;
    for number in 0..file.num_row_groups() {
        let group = file.get_row_group(number).unwrap();
        for place in 0..group.num_columns() {
            let pages = file.metadata().offset_index().unwrap()[number][place].page_locations();
            let starts: Vec<_> = pages.iter().map(|page| page.first_row_index as usize).collect();
            let sizes = pages.iter().map(|page| i64::from(page.compressed_page_size)).sum::<i64>();
            let chunk = group.metadata().column(place);
            let dictionary = chunk.dictionary_page_offset().map_or(0, |at| chunk.data_page_offset() - at);
            assert_eq!(sizes + dictionary, chunk.compressed_size(), "{}", chunk.column_path());
            assert_eq!(pages[0].offset, chunk.data_page_offset(), "{}", chunk.column_path());
            let column = read(&*group, place, group.metadata().num_rows() as usize);
            let index = &file.metadata().column_index().unwrap()[number][place];
            bounded += check_chunk(chunk, &column, index, &starts);
        }
    }
    bounded
}

fn check_chunk(chunk: &ColumnChunkMetaData, column: &Read, index: &ColumnIndexMetaData, starts: &[usize]) -> usize {
    let name = chunk.column_path().string();
    let most = chunk.column_descr().max_def_level();
    let is_value = |level: &&i16| **level == most;
    assert_eq!(chunk.num_values() as usize, column.definition.len(), "{name}");
    if chunk.column_descr().max_rep_level() > 0 || name == "community_id" {
        assert!(chunk.statistics().is_none(), "{name}");
        return 0;
    }
    let nulls = column.definition.len() - column.definition.iter().filter(is_value).count();
    assert_eq!(chunk.statistics().unwrap().null_count_opt(), Some(nulls as u64), "{name}");
    assert_eq!(starts.len(), index.num_pages() as usize, "{name}");
    let is_unsigned = chunk.column_descr().sort_order() == SortOrder::UNSIGNED;
    let (mut at, mut known) = (0, Vec::new());
    for (page, &start) in starts.iter().enumerate() {
        let levels = &column.definition[start..starts.get(page + 1).copied().unwrap_or(column.rows)];
        let count = levels.iter().filter(is_value).count();
        assert_eq!(index.null_count(page), Some((levels.len() - count) as i64), "{name}, page {page}");
        assert_eq!(index.is_null_page(page), count == 0, "{name}, page {page}");
        if let Some(places) = column.values.extremes(at..at + count) {
            assert!(column.values.are_bounds(index, page, places, is_unsigned), "{name}, page {page}");
            known.push(places);
        }
        at += count;
    }
    let follows = |(one, other): (&(usize, usize), &(usize, usize))| {
        !column.values.less(other.0, one.0) && !column.values.less(other.1, one.1)
    };
    let is_ascending = known.iter().zip(known.iter().skip(1)).all(follows);
    assert_eq!(index.get_boundary_order() == Some(BoundaryOrder::ASCENDING), is_ascending, "{name}");
    known.len()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// Any flows, any size of pages and row groups: the rows that one page would have given, and a file that says what is in it.
    #[test]
    fn pages_hold_what_was_written_and_say_so(
        flows in prop::collection::vec(flow(), 1..120),
        page_rows in prop_oneof![1..9usize, Just(97), Just(40_000)],
        row_group_rows in prop_oneof![1..40usize, Just(100_000)],
    ) {
        let flows: Vec<Flow> = flows.into_iter().zip(0..).map(|(flow, id)| Flow { flow_id: id, end: T + id as i64, ..flow }).collect();
        let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let small = LakeSettings { page_rows, row_group_rows, ..LakeSettings::default() };
        write(one.path(), &flows, &small, &points());
        let bounded: usize = tree(&one.path().join("lake")).iter().map(|file| check_file(&one.path().join("lake").join(file))).sum();
        prop_assert!(bounded > 20);
        let mut expected = BTreeMap::new();
        for (nth, flow) in flows.iter().enumerate().take(5) {
            let alone = other.path().join(nth.to_string());
            write(&alone, std::slice::from_ref(flow), &LakeSettings::default(), &points());
            expected.append(&mut by_id(&alone));
        }
        let found = by_id(one.path());
        prop_assert_eq!(found.len(), flows.len());
        for (id, row) in &expected {
            prop_assert_eq!(Some(row), found.get(id));
        }
    }
}

#[test]
fn addresses_of_two_kinds_are_never_one_name() {
    let pairs = [("192.168.0.1", "4::c0a8:1"), ("0.0.0.1", "::1"), ("192.168.0.1", "::192.168.0.1")];
    for (v4, v6) in pairs {
        let mut flows = [full(), full()];
        (flows[0].flow_id, flows[1].flow_id) = (0, 1);
        flows[0].endpoint.0[0].address = Address::V4(v4.parse().unwrap());
        flows[1].endpoint.0[0].address = Address::V6(v6.parse().unwrap());
        let directory = tempfile::tempdir().unwrap();
        write(directory.path(), &flows, &LakeSettings::default(), &points());
        let found = by_id(directory.path());
        assert_eq!(found["0"]["initiator_address"], v4);
        assert_eq!(found["1"]["initiator_address"], Ipv6Addr::to_string(&v6.parse().unwrap()));
    }
}

#[test]
fn points_of_one_name_are_one_entry_of_the_dictionary() {
    let flows: Vec<Flow> = (0..9)
        .map(|n| {
            let mut flow = full();
            flow.flow_id = n;
            flow.side.0[0].observation_point = Some(n as u32 % 3);
            flow
        })
        .collect();
    let directory = tempfile::tempdir().unwrap();
    let points = ["eth0", "eth0", "eth1"].map(|name| ObservationPoint { name: name.into() });
    write(directory.path(), &flows, &LakeSettings::default(), &points);
    let path = directory.path().join("lake").join(&tree(&directory.path().join("lake"))[0]);
    let file = SerializedFileReader::new(File::open(path).unwrap()).unwrap();
    let group = file.get_row_group(0).unwrap();
    let columns = group.metadata().columns();
    let place = columns.iter().position(|chunk| chunk.column_path().string() == "forward_observation_point").unwrap();
    let dictionary = group.get_column_page_reader(place).unwrap().get_next_page().unwrap().unwrap();
    assert!(!dictionary.is_data_page());
    assert_eq!(dictionary.num_values(), 2);
    assert_eq!(&dictionary.buffer()[..], [&[4, 0, 0, 0], &b"eth0"[..], &[4, 0, 0, 0], b"eth1"].concat());
    let names: Vec<_> = by_id(directory.path()).values().map(|row| row["forward_observation_point"].clone()).collect();
    assert_eq!(names, ["eth0", "eth0", "eth1"].repeat(3));
}

#[test]
fn no_rows_to_a_page_are_one() {
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), &[full()], &LakeSettings { page_rows: 0, ..LakeSettings::default() }, &points());
    assert_eq!(by_id(directory.path()).len(), 1);
}

#[test]
fn tables_are_sorted_by_columns_that_they_have() {
    fn check<R: 'static>(table: &Table<R>) {
        let [name, time] = table.sort.map(|name| table.columns.iter().find(|column| column.name == name).unwrap());
        assert_eq!(table.arrangement().sort.map(|place| &table.columns[place].name), [&name.name, &time.name]);
        assert_eq!(time.null, None, "rows are put in order by this time");
    }
    check(flow_table::table());
    check(coverage_table::table());
}
