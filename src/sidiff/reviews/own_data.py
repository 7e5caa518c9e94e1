"""Tables of a shop's own to the frames that Amazon's files give.

Interactions may be larger than the memory: every check is an expression over the
scanned rows, one pass counts and gathers what fails, and the frame that is returned
reads the rows again when it is written. Items are fewer and each value may be of any
kind, so these pass through Python, by the rules of ``sidiff.reviews.layouts``.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import date, time
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
from polars.datatypes import DataType

from sidiff.errors import SidiffError
from sidiff.parameters import InteractionColumns, ItemColumns
from sidiff.reviews.ingestion import (
    INTERACTIONS,
    ITEMS,
    KEPT_TEXT,
    REJECTED,
    Ingested,
    first_of_each_item,
    join,
)
from sidiff.reviews.layouts import (
    LATEST_SECOND,
    ItemLayout,
    MalformedLineError,
    texts,
)
from sidiff.reviews.lines import numbered_lines, parse_line
from sidiff.reviews.tables import (
    FAULT,
    ROW,
    column_names,
    find_format,
    readable,
    scan,
)

logger = logging.getLogger(__name__)

_KEPT_ROWS = 100_000
_ROWS_PER_BLOCK = 2**14
_LISTED_CHARACTERS = 1000
_TICKS = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
# 1972-01-01: all times of a log before it are seconds that were taken for a finer unit.
_TOO_EARLY = 63_072_000
# Clocks differ, and a time without a zone may be ahead of UTC.
_TOLERATED_SECONDS = 86_400
# A float holds every whole number up to here.
_LARGEST_WHOLE = 2.0**53
_TIME_FORMATS = (
    "%Y-%m-%dT%H:%M:%S%.f%#z",
    "%Y-%m-%dT%H:%M:%S%.f",
    "%Y-%m-%dT%H:%M",
    "%Y-%m-%d",
)
_NOT_UTF8 = "\ufffd"
_REASON = "why the row is set aside"
_TEXT = "the row in words"


def ingest_interactions(
    paths: Sequence[Path], columns: InteractionColumns, now: int
) -> Ingested:
    """Check the rows of an interactions table, and count them.

    A row is set aside when an id is missing, the time is missing, before 1970 or more
    than a day after ``now``, or the row is damaged. A wrong rating is null.

    Args:
        paths: the table's files, of one format or several; read twice, as ``frame``
            reads them again.
        columns: which column is what.
        now: seconds since 1970.

    Returns:
        ``frame`` as ``sidiff.reviews.ingestion.ingest_reviews`` has it, not read yet.

    Raises:
        SidiffError: a file cannot be read, lacks a column, is empty, or its times are
            of another unit.
    """
    parts, last_seconds = zip(
        *(_ingest_file(path, columns, now) for path in paths), strict=True
    )
    read = join(parts)
    if not read.rows:
        raise _no_row(paths[0], "interactions", read)
    if columns.time_unit in ("ms", "us", "ns") and max(last_seconds) < _TOO_EARLY:
        raise SidiffError(
            f"All times in {columns.timestamp} of {paths[0]} lie before 1972 when read "
            f"as {columns.time_unit}: set ingestion.interactions.time_unit to s."
        )
    if read.set_aside:
        logger.warning("Interactions set aside: %s", f"{read.set_aside:,}")
    return replace(read, rejected=read.rejected.head(_KEPT_ROWS))


def ingest_items(paths: Sequence[Path], columns: ItemColumns) -> Ingested:
    """Read an item table; an item's first row counts.

    Args:
        paths: the table's files, of one format or several.
        columns: which column is the id, and which are fields under another name.

    Returns:
        ``frame`` has the columns of ``sidiff.reviews.ingestion.ingest_items`` (null
        where the table has no such), then every other column of the table: a text, or
        a list of texts where a value has several parts.

    Raises:
        SidiffError: a file cannot be read, lacks a column, or holds no item.
    """
    names = list(dict.fromkeys(name for path in paths for name in column_names(path)))
    _check_columns(paths[0], names, [columns.item, *columns.fields.values()], "items")
    layout = _item_layout(columns)
    taken = {columns.item, *columns.fields.values(), *ITEMS}
    further = [name for name in names if name not in taken]
    read = first_of_each_item([_read_items(path, layout, further) for path in paths])
    if not read.rows:
        raise _no_row(paths[0], "items", read)
    if read.set_aside:
        logger.warning("Items set aside: %s", f"{read.set_aside:,}")
    frame = read.frame.collect()
    single = [name for name in further if (frame[name].list.len() <= 1).all()]
    return replace(read, frame=frame.lazy().with_columns(pl.col(single).list.first()))


def _ingest_file(
    path: Path, columns: InteractionColumns, now: int
) -> tuple[Ingested, int]:
    """One file's rows, of which there may be none, and the last second among them."""
    wanted = [columns.user, columns.item, columns.timestamp]
    wanted += [columns.rating] if columns.rating else []
    names = column_names(path)
    _check_columns(path, names, wanted, "interactions")
    with readable(path):
        checked = _check_rows(path, scan(path, wanted), columns, now)
        bad = pl.col(_REASON).is_not_null()
        counts, rejected = pl.collect_all(
            [
                checked.select(
                    lines=pl.len(),
                    set_aside=bad.sum(),
                    last=pl.col("timestamp").filter(~bad).max(),
                ),
                checked.filter(bad)
                .head(_KEPT_ROWS)
                .select(file=pl.lit(path.name), line=ROW, reason=_REASON, text=_TEXT),
            ],
            engine="streaming",
        )
    lines, set_aside, last = counts.row(0)
    read = Ingested(
        frame=checked.filter(~bad).select(INTERACTIONS.names()),
        rejected=rejected,
        lines=lines,
        rows=lines - set_aside,
        set_aside=set_aside,
        duplicates=0,
    )
    return read, last or 0


def _check_rows(
    path: Path, rows: pl.LazyFrame, columns: InteractionColumns, now: int
) -> pl.LazyFrame:
    """Typed rows, each with the reason why it is to be set aside, or null."""
    types = rows.collect_schema()
    rating = pl.lit(None, pl.Float32)
    if columns.rating:
        rating = pl.col(columns.rating).cast(pl.Float32, strict=False)
    raw = dict.fromkeys([columns.user, columns.item, columns.timestamp])
    typed = rows.select(
        ROW,
        FAULT,
        _in_words(list(raw)).alias(_TEXT),
        user_id=_identifier(path, columns.user, types[columns.user]),
        item_id=_identifier(path, columns.item, types[columns.item]),
        timestamp=_seconds(path, columns, types[columns.timestamp]),
        rating=pl.when(rating.is_finite()).then(rating),
    )
    seconds = pl.col("timestamp")
    reason = (
        pl.when(pl.col(FAULT).is_not_null())
        .then(FAULT)
        .when(_missing("user_id"))
        .then(pl.lit(f"no text or whole number in {columns.user}"))
        .when(_missing("item_id"))
        .then(pl.lit(f"no text or whole number in {columns.item}"))
        .when(_damaged("user_id") | _damaged("item_id"))
        .then(pl.lit("not UTF-8 text"))
        .when(seconds.is_null())
        .then(pl.lit(f"no time in {columns.timestamp}"))
        .when(~seconds.is_between(0, LATEST_SECOND, closed="left"))
        .then(
            pl.lit(
                f"{columns.timestamp} is not a time from 1970 to 2100 (is "
                f"ingestion.interactions.time_unit {columns.time_unit} right?)"
            )
        )
        .when(seconds > now + _TOLERATED_SECONDS)
        .then(pl.lit(f"{columns.timestamp} lies in the future"))
    )
    return typed.with_columns(reason.alias(_REASON))


def _missing(name: str) -> pl.Expr:
    return pl.col(name).fill_null("") == ""


def _damaged(name: str) -> pl.Expr:
    return pl.col(name).str.contains(_NOT_UTF8, literal=True)


def _in_words(columns: Sequence[str]) -> pl.Expr:
    pieces = [
        pl.format(
            "{}: {}", pl.lit(name), pl.col(name).cast(pl.String, strict=False)
        ).fill_null(f"{name}: null")
        for name in columns
    ]
    return pl.concat_str(pieces, separator=", ").str.slice(0, KEPT_TEXT)


def _identifier(path: Path, name: str, dtype: DataType) -> pl.Expr:
    """An id as text; whole numbers that a tool stored as floats are whole again."""
    column = pl.col(name)
    if dtype.is_float():
        whole = (column == column.floor()) & (column.abs() < _LARGEST_WHOLE)
        return pl.when(whole).then(column.cast(pl.Int64, strict=False)).cast(pl.String)
    if dtype.is_integer() or dtype in (pl.String, pl.Categorical, pl.Enum, pl.Binary):
        return column.cast(pl.String, strict=False)
    raise SidiffError(
        f"Column {name} of {path} holds {dtype}: name a column of texts or whole "
        "numbers."
    )


def _seconds(path: Path, columns: InteractionColumns, dtype: DataType) -> pl.Expr:
    """Seconds since 1970 UTC as i64, null where there is no time."""
    column, unit = pl.col(columns.timestamp), columns.time_unit
    if unit == "datetime":
        if dtype == pl.String:
            text = column.str.strip_chars().str.replace(" ", "T", literal=True)
            column = pl.coalesce(
                text.str.to_datetime(
                    form, time_unit="us", time_zone="UTC", strict=False
                )
                for form in _TIME_FORMATS
            )
        elif not dtype.is_temporal() or dtype in (pl.Time, pl.Duration):
            raise SidiffError(
                f"Column {columns.timestamp} of {path} holds {dtype}: set "
                "ingestion.interactions.time_unit to s, ms, us or ns."
            )
        return column.cast(pl.Datetime("us")).to_physical() // 10**6
    if dtype.is_numeric():
        number = column
    elif dtype == pl.String:
        number = column.str.strip_chars()
    else:
        raise SidiffError(
            f"Column {columns.timestamp} of {path} holds {dtype}: set "
            "ingestion.interactions.time_unit to datetime."
        )
    whole = number.cast(pl.Int64, strict=False) // _TICKS[unit]
    if dtype.is_integer():
        return whole
    # 1.6e9 and 1600000000.25 are times as well, whatever wrote them.
    part = (number.cast(pl.Float64, strict=False) / _TICKS[unit]).floor()
    return pl.coalesce(whole, part.cast(pl.Int64, strict=False))


def _check_columns(
    path: Path, names: Sequence[str], wanted: Sequence[str], table: str
) -> None:
    for name in wanted:
        if name not in names:
            # A damaged header may be anything of any length.
            there = " ".join(", ".join(names).split())[:_LISTED_CHARACTERS]
            raise SidiffError(
                f"{path} has no column {name}, it has {there}: correct "
                f"ingestion.{table} in parameters.yml."
            )


def _no_row(path: Path, table: str, read: Ingested) -> SidiffError:
    if not read.lines:
        return SidiffError(f"{path} has no rows: give a table of {table}.")
    first = read.rejected.row(0, named=True)
    return SidiffError(
        f"No row of {path} could be read (row {first['line']}: {first['reason']}): "
        f"correct ingestion.{table} in parameters.yml or give the right file."
    )


def _item_layout(columns: ItemColumns) -> ItemLayout:
    named = {name: name for name in ITEMS if name != "item_id"} | dict(columns.fields)
    return ItemLayout(looks="an item table", item=columns.item, **named)


def _read_items(path: Path, layout: ItemLayout, further: Sequence[str]) -> Ingested:
    schema = dict(ITEMS) | dict.fromkeys(further, pl.List(pl.String))
    blocks: list[pl.DataFrame] = []
    rows: list[tuple[Any, ...]] = []
    rejected: list[tuple[str, int, str, str]] = []
    lines = 0
    for number, line in _item_rows(path):
        lines += 1
        try:
            rows.append(_item(line, layout, further))
        except MalformedLineError as error:
            text = str(line)[:KEPT_TEXT]
            rejected.append((path.name, number, str(error), text))
        if len(rows) == _ROWS_PER_BLOCK:
            blocks.append(pl.DataFrame(rows, schema=schema, orient="row"))
            rows.clear()
    blocks.append(pl.DataFrame(rows, schema=schema, orient="row"))
    frame = pl.concat(blocks)
    return Ingested(
        frame=frame.lazy(),
        rejected=pl.DataFrame(rejected, schema=REJECTED, orient="row"),
        lines=lines,
        rows=len(frame),
        set_aside=len(rejected),
        duplicates=0,
    )


def _item_rows(path: Path) -> Iterator[tuple[int, dict[str, Any] | str]]:
    """Each row with its number; one that is no row as the reason why."""
    with readable(path):
        if find_format(path) == "ndjson":
            for number, raw in numbered_lines(path):
                try:
                    yield number, parse_line(raw)
                except MalformedLineError as error:
                    yield number, str(error)
            return
        names = column_names(path)
        for block in scan(path, names).collect_batches(maintain_order=True):
            for row in block.iter_rows(named=True):
                number, fault = row.pop(ROW), row.pop(FAULT)
                yield number, fault or row


def _item(
    line: Mapping[str, Any] | str, layout: ItemLayout, further: Sequence[str]
) -> tuple[Any, ...]:
    if isinstance(line, str):
        raise MalformedLineError(line)
    plain = {name: _plain(value) for name, value in line.items()}
    if _NOT_UTF8 in str(plain.get(layout.item)):
        raise MalformedLineError("not UTF-8 text")
    price = line.get(layout.price)
    price = float(price) if isinstance(price, Decimal) else price
    row = layout.read(plain | {layout.price: price})
    return (*row, *(texts(plain.get(name)) for name in further))


def _plain(value: object) -> str | list[Any] | None:
    """A value as a text or as a list of texts; None where it says nothing in words."""
    if isinstance(value, str):
        return value
    if isinstance(value, Mapping):
        pairs = ((name, _plain(part)) for name, part in value.items())
        return [f"{name}: {part}" for name, part in pairs if isinstance(part, str)]
    if isinstance(value, list):
        # Numbers with fractions are somebody's vectors, and no words.
        return [_plain(part) for part in value if not isinstance(part, float)]
    if isinstance(value, float):
        whole = value.is_integer() and abs(value) < _LARGEST_WHOLE
        return str(int(value) if whole else value) if math.isfinite(value) else None
    if isinstance(value, int | Decimal | date | time):
        return str(value)
    return None
