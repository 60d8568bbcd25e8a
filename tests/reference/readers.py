#!/usr/bin/env python3
"""A lake read by three other engines: every value of every column, row by row, and everything the files say of their values.

Usage: readers.py LAKE

pyarrow, Polars and DuckDB read each file. Their values must be the same; the bounds and null counts of each column chunk must be
those of its values; and a query that a reader answers with the help of bounds must find what a look at all values finds. Writes one
JSON object: what was compared, and what differs.
"""

import json
import pathlib
import sys

import duckdb
import polars
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as dataset
import pyarrow.parquet as parquet

differences = []
counted = {"files": 0, "row_groups": 0, "rows": 0, "values": 0, "bounds": 0, "queries": 0}


def differs(*what):
    if len(differences) < 20:
        differences.append(" ".join(map(str, what)))


def plain(column, microseconds):
    """Python values; times as whole numbers."""
    kind = column.type
    if pa.types.is_timestamp(kind):
        column = column.cast(pa.int64())
        per = {"ns": 1000, "us": 1}[kind.unit] if microseconds else 1
        return [None if value is None else value // per for value in column.to_pylist()]
    return column.to_pylist()


def values(path, ours):
    frame = polars.read_parquet(path, hive_partitioning=False).to_arrow()
    rows = duckdb.sql(f"SELECT * FROM read_parquet('{path}', hive_partitioning = false)").to_arrow_table()
    for name in ours.column_names:
        for reader, theirs in (("Polars", frame), ("DuckDB", rows)):
            # DuckDB's times with a zone are of microseconds.
            rounded = reader == "DuckDB"
            if plain(ours[name], rounded) != plain(theirs[name], rounded):
                differs(path, reader, name)
        counted["values"] += len(ours)


def bounds(path, ours):
    metadata = parquet.ParquetFile(path).metadata
    start = 0
    for number in range(metadata.num_row_groups):
        group = metadata.row_group(number)
        part = ours.slice(start, group.num_rows)
        start += group.num_rows
        counted["row_groups"] += 1
        for place in range(group.num_columns):
            chunk = group.column(place)
            name = chunk.path_in_schema.split(".")[0]
            said = chunk.statistics
            if said is None:
                if not (name == "community_id" or pa.types.is_list(part[name].type)):
                    differs(path, name, "has no bounds")
                continue
            column = part[name]
            if said.null_count != column.null_count:
                differs(path, name, "says", said.null_count, "nulls, has", column.null_count)
            if pa.types.is_timestamp(column.type):
                # pyarrow gives its own types for these.
                column = column.cast(pa.int64())
                low, high = said.min_raw, said.max_raw
            else:
                low, high = said.min, said.max
            if said.has_min_max != (column.null_count < len(column)):
                differs(path, name, "bounds without values, or values without bounds")
            elif said.has_min_max and (low, high) != (pc.min(column).as_py(), pc.max(column).as_py()):
                differs(path, name, "is not within", low, high)
            counted["bounds"] += 1


def queries(folder, table, ours):
    """Counts of rows at or above some value, which bounds and indexes help to find."""
    files = f"{folder}/**/*.parquet"
    for name in ours.column_names:
        column = ours[name]
        if pa.types.is_list(column.type) or pa.types.is_timestamp(column.type) or pa.types.is_boolean(column.type):
            continue
        known = column.drop_null()
        if len(known) == 0:
            continue
        for place in {0, len(known) // 2}:
            value = known[place].as_py()
            expect = pc.sum(pc.equal(column, known[place])).as_py()
            literal = "'" + value + "'" if isinstance(value, str) else repr(value)
            found = {
                "DuckDB": duckdb.sql(f"SELECT count(*) FROM read_parquet('{files}') WHERE {name} = {literal}").fetchall()[0][0],
                "Polars": polars.scan_parquet(files).filter(polars.col(name) == value).select(polars.len()).collect().item(),
                "pyarrow": table.count_rows(filter=dataset.field(name) == known[place]),
            }
            for reader, count in found.items():
                if count != expect:
                    differs(reader, name, "=", literal, "finds", count, "of", expect)
            counted["queries"] += len(found)


def main():
    for folder in sorted(pathlib.Path(sys.argv[1]).iterdir()):
        parts = []
        for path in sorted(folder.rglob("*.parquet")):
            ours = parquet.read_table(path, partitioning=None)
            values(path, ours)
            bounds(path, ours)
            parts.append(ours)
            counted["files"] += 1
            counted["rows"] += len(ours)
        queries(folder, dataset.dataset(folder, partitioning="hive"), pa.concat_tables(parts))
    json.dump(counted | {"differences": differences}, sys.stdout)


main()
