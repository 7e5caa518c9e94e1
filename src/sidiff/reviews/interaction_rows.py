"""Rows of an interactions table, typed and checked: expressions, nothing is read."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl
from polars.datatypes import DataType, DataTypeClass

from sidiff.errors import SidiffError
from sidiff.reviews.ingestion import KEPT_TEXT
from sidiff.reviews.layouts import LATEST_SECOND
from sidiff.reviews.settings import InteractionColumns
from sidiff.reviews.streams import FAULT, LINE, ROW
from sidiff.reviews.tables import header_of, spelling
from sidiff.reviews.times import Time, is_moment_type, moments, ticks
from sidiff.reviews.values import identifier, is_id_type, present

REASON = "why the row is set aside"
"""Null for a good row."""
TEXT = "the row in words"
HEADER = "the row is the header once more"
MOVED = "the row is the header in another order"
LOST = "the rating is no number"
CHANGED = "an id is not as it stands there"
OTHER_UNIT = "is a time in a coarser unit"
_SAME_ORDER, _OTHER_ORDER = 1, 2
# Clocks differ, and a time without a zone may be ahead of UTC.
_TOLERATED_SECONDS = 86_400


def check_rows(
    path: Path,
    rows: pl.LazyFrame,
    columns: InteractionColumns,
    now: int,
    *,
    tidy: bool = False,
) -> pl.LazyFrame:
    """Typed rows, each with the reason why it is to be set aside, or null.

    ``tidy``: those of the ids that are texts are known to be tidy, or no ids.
    """
    rows = _unwrapped(rows, [columns.user, columns.item, columns.timestamp])
    types = rows.collect_schema()
    raw = list(dict.fromkeys([columns.user, columns.item, columns.timestamp]))
    rating, lost = _rating(columns.rating, types)
    time = _time(path, columns, types[columns.timestamp])
    place = _header(path, raw)
    ids = {"user_id": columns.user, "item_id": columns.item}
    as_they_are = {kind for kind in ids if tidy and types[ids[kind]] == pl.String}
    texts = {kind for kind in ids if types[ids[kind]] == pl.String}
    typed = rows.select(
        ROW,
        FAULT,
        LINE,
        _in_words(raw, types).alias(TEXT),
        (place == _SAME_ORDER).alias(HEADER),
        (place == _OTHER_ORDER).alias(MOVED),
        time.other_unit.alias(OTHER_UNIT),
        lost.alias(LOST),
        *(pl.col(ids[kind]).alias(f"{kind} as it is") for kind in texts),
        *(
            pl.col(name).alias(kind)
            if kind in as_they_are
            else _identifier(path, name, types[name]).alias(kind)
            for kind, name in ids.items()
        ),
        timestamp=time.seconds,
        microsecond=time.microseconds,
        rating=rating,
    )
    changed = (pl.col(f"{kind} as it is").ne_missing(pl.col(kind)) for kind in texts)
    return typed.with_columns(
        _reason(columns, now).alias(REASON),
        pl.any_horizontal(pl.lit(value=False), *changed).alias(CHANGED),
    )


def _reason(columns: InteractionColumns, now: int) -> pl.Expr:
    """The reason to set a typed row aside, null for a good one."""
    seconds = pl.col("timestamp")
    return (
        pl.when(pl.col(FAULT).is_not_null())
        .then(FAULT)
        .when(pl.col("user_id").is_null())
        .then(pl.lit(f"no text or whole number in {columns.user}"))
        .when(pl.col("item_id").is_null())
        .then(pl.lit(f"no text or whole number in {columns.item}"))
        .when(seconds.is_null())
        .then(pl.lit(f"no time in {columns.timestamp}"))
        .when(OTHER_UNIT)
        .then(pl.lit(f"{columns.timestamp} {OTHER_UNIT} than {columns.time_unit}"))
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


def _unwrapped(rows: pl.LazyFrame, names: Sequence[str]) -> pl.LazyFrame:
    """Columns of extended JSON's objects (``{"$oid": ...}``) as what is in them."""
    types = rows.collect_schema()
    for name in names:
        dtype: DataType | DataTypeClass = types[name]
        column = pl.col(name)
        while isinstance(dtype, pl.Struct) and len(dtype.fields) == 1:
            (field,) = dtype.fields
            if not field.name.startswith("$"):
                break
            dtype, column = field.dtype, column.struct.field(field.name)
        if dtype != types[name]:
            rows = rows.with_columns(column.alias(name))
    return rows


def _header(path: Path, names: Sequence[str]) -> pl.Expr:
    """Whether a row is the header, which concatenated files repeat, and how."""
    header = header_of(path)
    if not header:
        return pl.lit(0, pl.Int8)
    known = {spelling(name) for name in header.values()}
    letters = "|".join(sorted(map(re.escape, known)))
    looks_so = rf'(?i)^[ \t"\x{{feff}}]*(?:{letters})[ \t"]*$'

    def find(rows: pl.Series) -> pl.Series:
        place = np.zeros(len(rows), dtype=np.int8)
        # Nearly all times begin with a digit, and are not looked at.
        first = rows.struct.field(names[-1])
        other = ((first < "0") | (first > ":")).fill_null(value=False).arg_true()
        named = other.filter(first.gather(other).str.contains(looks_so))
        for row, values in zip(named, rows.gather(named), strict=True):
            spelt = [spelling(value or "") for value in values.values()]
            if known.issuperset(spelt):
                there = spelt == [spelling(header[name]) for name in names]
                place[row] = _SAME_ORDER if there else _OTHER_ORDER
        return pl.Series(rows.name, place)

    return pl.struct(names).map_batches(find, return_dtype=pl.Int8, is_elementwise=True)


def _rating(name: str | None, types: pl.Schema) -> tuple[pl.Expr, pl.Expr]:
    """The rating as f32, and whether something stands there that is none."""
    if name is None:
        return pl.lit(None, pl.Float32), pl.lit(value=False)
    column = pl.col(name)
    if types[name] == pl.String:
        text = present(column)
        # 4,5 is a number in half of the world.
        point = text.str.replace(r"^(-?\d+),(\d+)$", "${1}.${2}")
        number = point.cast(pl.Float32, strict=False)
        finite = pl.when(number.is_finite()).then(number)
        return finite, text.is_not_null() & finite.is_null()
    number = column.cast(pl.Float32, strict=False)
    finite = pl.when(number.is_finite()).then(number)
    return finite, pl.lit(value=False)


def _in_words(columns: Sequence[str], types: pl.Schema) -> pl.Expr:
    texts = {
        name: pl.col(name).bin.encode("hex")
        if types[name] == pl.Binary
        else pl.col(name).cast(pl.String, strict=False)
        for name in columns
    }
    pieces = [
        pl.format("{}: {}", pl.lit(name), text).fill_null(f"{name}: null")
        for name, text in texts.items()
    ]
    return pl.concat_str(pieces, separator=", ").str.slice(0, KEPT_TEXT)


def _identifier(path: Path, name: str, dtype: DataType) -> pl.Expr:
    if not is_id_type(dtype):
        raise SidiffError(
            f"Column {name} of {path} holds {dtype}: name a column of texts or whole "
            "numbers."
        )
    return identifier(pl.col(name), dtype)


def _time(path: Path, columns: InteractionColumns, dtype: DataType) -> Time:
    """The time by the unit that the settings say."""
    column, unit = pl.col(columns.timestamp), columns.time_unit
    if dtype == pl.Null:
        raise SidiffError(
            f"Column {columns.timestamp} of {path} has no value in any row: name the "
            "column of the times as ingestion.interactions.timestamp."
        )
    if unit == "datetime":
        if not is_moment_type(dtype):
            raise SidiffError(
                f"Column {columns.timestamp} of {path} holds {dtype}: set "
                "ingestion.interactions.time_unit to s, ms, us or ns."
            )
        return moments(column, dtype)
    if not dtype.is_numeric() and dtype != pl.String:
        raise SidiffError(
            f"Column {columns.timestamp} of {path} holds {dtype}: set "
            "ingestion.interactions.time_unit to datetime."
        )
    return ticks(column, dtype, unit)
