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
counted = {"files": 0, "row_groups": 0, "rows": 0, "values": 0, "bounds": 0, "dictionaries": 0, "queries": 0}


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


def literal(value, kind):
    if pa.types.is_timestamp(kind):
        return f"make_timestamptz({value // 1000})::TIMESTAMPTZ_NS"
    return "'" + value.replace("'", "''") + "'" if isinstance(value, str) else repr(value)


def queries(folder, table, ours):
    """Counts of rows at, above and below some value, which bounds and indexes help to find."""
    files = f"{folder}/**/*.parquet"
    for name in ours.column_names:
        column = ours[name]
        kind = column.type
        if pa.types.is_list(kind) or pa.types.is_boolean(kind) or column.null_count == len(column):
            continue
        value = column.drop_null()[(len(column) - column.null_count) // 2]
        if pa.types.is_timestamp(kind):
            # One that all readers can say exactly.
            value = pa.scalar(value.value // 1000 * 1000, kind)
            said = value.value
            scalar = polars.lit(said).cast(polars.Datetime("ns", "UTC"))
        else:
            said = scalar = value.as_py()
        field, own = dataset.field(name), polars.col(name)
        for sign, expect, filtered, theirs in (
            ("=", pc.equal(column, value), own == scalar, field == value),
            (">=", pc.greater_equal(column, value), own >= scalar, field >= value),
            ("<", pc.less(column, value), own < scalar, field < value),
        ):
            expect = pc.sum(expect).as_py()
            where = f"{name} {sign} {literal(said, kind)}"
            found = {
                "Polars": polars.scan_parquet(files).filter(filtered).select(polars.len()).collect().item(),
                "pyarrow": table.count_rows(filter=theirs),
            }
            # Rounded to microseconds, a time is not always the same as another that is.
            if not (pa.types.is_timestamp(kind) and sign == "="):
                counts = duckdb.sql(f"SELECT count(*) FROM read_parquet('{files}') WHERE {where}").fetchall()
                found["DuckDB"] = counts[0][0]
            for reader, count in found.items():
                if count != expect:
                    differs(reader, where, "finds", count, "of", expect)
            counted["queries"] += len(found)


def dictionaries(path, ours):
    """Strings read as dictionaries, which only works when no entry stands twice."""
    names = [name for name in ours.column_names if pa.types.is_string(ours[name].type) and name != "community_id"]
    table = parquet.read_table(path, columns=names, partitioning=None, read_dictionary=names)
    for name in names:
        if table[name].cast(pa.string()) != ours[name]:
            differs(path, name, "as a dictionary")
        counted["dictionaries"] += 1


def main():
    for folder in sorted(pathlib.Path(sys.argv[1]).iterdir()):
        parts = []
        for path in sorted(folder.rglob("*.parquet")):
            ours = parquet.read_table(path, partitioning=None)
            values(path, ours)
            bounds(path, ours)
            dictionaries(path, ours)
            parts.append(ours)
            counted["files"] += 1
            counted["rows"] += len(ours)
        queries(folder, dataset.dataset(folder, partitioning="hive"), pa.concat_tables(parts))
    json.dump(counted | {"differences": differences}, sys.stdout)


main()
