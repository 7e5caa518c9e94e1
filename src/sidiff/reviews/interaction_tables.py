"""Interactions of a shop's own: expressions that type and check rows, one pass."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl
from polars.datatypes import DataType, DataTypeClass

from sidiff.errors import SidiffError
from sidiff.reviews.ingestion import INTERACTIONS, KEPT_TEXT, REJECTED, Ingested
from sidiff.reviews.layouts import LATEST_SECOND
from sidiff.reviews.settings import InteractionColumns
from sidiff.reviews.streams import FAULT, LINE, ROW
from sidiff.reviews.tables import (
    check_columns,
    column_names,
    header_of,
    lines_of,
    readable,
    scan,
    spelling,
)
from sidiff.reviews.times import PLAUSIBLE_SECOND, Time, is_moment_type, moments, ticks
from sidiff.reviews.values import identifier, is_id_type, present

BAD = "the row is set aside"
REASON = "why the row is set aside"
TEXT = "the row in words"
HEADER = "the header once more"
LOST = "the rating is no number"
OTHER_UNIT = "is a time in a coarser unit"
KEPT_ROWS = 100_000
"""Rows set aside that are kept with their texts."""
# Rows in which the largest user is looked for, and what a row takes at least.
_SAMPLED_ROWS, _BYTES_OF_A_ROW = 50_000, 16
# Clocks differ, and a time without a zone may be ahead of UTC.
_TOLERATED_SECONDS = 86_400


def read(
    path: Path, columns: InteractionColumns, now: int
) -> tuple[Ingested, dict[str, Any]]:
    """One file's rows, of which there may be none, and what the report says of them."""
    ids = [columns.user, columns.item]
    others = [columns.timestamp, *([columns.rating] if columns.rating else [])]
    names = column_names(path, [*ids, *others])
    check_columns(path, names, [*ids, *others], "interactions")
    # Every so manyeth row is enough to find who has a large part of a table.
    stride = max(1, path.stat().st_size // (_SAMPLED_ROWS * _BYTES_OF_A_ROW))
    with readable(path):
        checked = _checked(path, scan(path, ids, others), columns, now)
        good, seconds = ~pl.col(BAD), pl.col("timestamp")
        found: dict[str, Any] = (
            checked.select(
                rows=good.sum(),
                bad=pl.col(BAD).sum(),
                before_1990=(good & (seconds < PLAUSIBLE_SECOND)).sum(),
                ratings_not_read=(good & pl.col(LOST)).sum(),
                users=pl.col("user_id")
                .filter(good & (pl.col(ROW) % stride == 0))
                .implode(),
            )
            .collect(engine="streaming")
            .row(0, named=True)
        )
        rejected = pl.DataFrame(schema=REJECTED)
        reasons: dict[str, int] = {}
        if found["bad"]:
            rejected, reasons = _set_aside(path, checked.filter(BAD))
    rows, bad = found.pop("rows"), found.pop("bad")
    headers = reasons.pop(HEADER, 0)
    frame = checked.filter(good).select(INTERACTIONS.names())
    part = Ingested(frame, rejected, rows + bad, rows, bad - headers, headers=headers)
    users = pl.Series("user_id", found["users"], dtype=pl.String)
    return part, found | {"users": users, "reasons": reasons}


def _set_aside(path: Path, wrong: pl.LazyFrame) -> tuple[pl.DataFrame, dict[str, int]]:
    """The first of the rows set aside, and how many there are for each reason.

    Their text is the beginning of their lines, if they have such.
    """
    shown = wrong.filter(pl.col(REASON) != HEADER).head(KEPT_ROWS)
    shown = shown.select(
        ROW, LINE, file=pl.lit(path.name), line=ROW, reason=REASON, text=TEXT
    )
    rejected, counted = pl.collect_all(
        [shown, wrong.group_by(REASON).len()], engine="streaming"
    )
    if len(rejected) and rejected[LINE].is_null().all():
        lines = lines_of(path, rejected[ROW])
        if lines is not None:
            rejected = rejected.drop(LINE).join(
                lines, on=ROW, how="left", maintain_order="left"
            )
    text = pl.coalesce(pl.col(LINE).str.slice(0, KEPT_TEXT), "text")
    rejected = rejected.select("file", "line", "reason", text=text)
    return rejected, dict(counted.iter_rows())


def _checked(
    path: Path, rows: pl.LazyFrame, columns: InteractionColumns, now: int
) -> pl.LazyFrame:
    """Typed rows, each with the reason why it is to be set aside, or null."""
    raw = list(dict.fromkeys([columns.user, columns.item, columns.timestamp]))
    rows = _unwrapped(rows, raw)
    types = rows.collect_schema()
    rating, lost = _rating(columns.rating, types)
    time = _time(path, columns, types[columns.timestamp])
    typed = rows.select(
        ROW,
        FAULT,
        LINE,
        _in_words(raw, types).alias(TEXT),
        _is_header(path, raw).alias(HEADER),
        time.other_unit.alias(OTHER_UNIT),
        lost.alias(LOST),
        user_id=_identifier(path, columns.user, types),
        item_id=_identifier(path, columns.item, types),
        timestamp=time.seconds,
        microsecond=time.microseconds,
        rating=rating,
    )
    checks = _checks(columns, now)
    bad = pl.any_horizontal(pl.col(FAULT).is_not_null(), *checks.values())
    # A header has no time. So reasons, which are texts, are only made for bad rows.
    reasons = {HEADER: pl.col(HEADER)} | checks
    said = (pl.when(test).then(pl.lit(reason)) for reason, test in reasons.items())
    return typed.with_columns(bad.alias(BAD), pl.coalesce(FAULT, *said).alias(REASON))


def _checks(columns: InteractionColumns, now: int) -> dict[str, pl.Expr]:
    """Reasons to set a typed row aside, each with its test."""
    seconds = pl.col("timestamp")
    time, unit = columns.timestamp, columns.time_unit
    return {
        f"no text or whole number in {columns.user}": pl.col("user_id").is_null(),
        f"no text or whole number in {columns.item}": pl.col("item_id").is_null(),
        f"no time in {time}": seconds.is_null(),
        f"{time} {OTHER_UNIT} than {unit}": pl.col(OTHER_UNIT),
        f"{time} is not a time from 1970 to 2100 (is "
        f"ingestion.interactions.time_unit {unit} right?)": ~seconds.is_between(
            0, LATEST_SECOND, closed="left"
        ),
        f"{time} lies in the future": seconds > now + _TOLERATED_SECONDS,
    }


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


def _is_header(path: Path, names: Sequence[str]) -> pl.Expr:
    """Whether a row is the header, which concatenated files repeat."""
    header = header_of(path)
    if not header:
        return pl.lit(value=False)
    blank = r'[ \t"\x{feff}]*'
    named = (
        pl.col(name).str.contains(
            rf"(?i)^{blank}{re.escape(spelling(header[name]))}{blank}$"
        )
        for name in names
    )
    return pl.all_horizontal(*named).fill_null(value=False)


def _rating(name: str | None, types: pl.Schema) -> tuple[pl.Expr, pl.Expr]:
    """The rating as f32, and whether something stands there that is none."""
    if name is None:
        return pl.lit(None, pl.Float32), pl.lit(value=False)
    column, stands = pl.col(name), pl.lit(value=False)
    if types[name] == pl.String:
        text = present(column)
        # 4,5 is a number in half of the world.
        column = text.str.replace(r"^(-?\d+),(\d+)$", "${1}.${2}")
        stands = text.is_not_null()
    number = column.cast(pl.Float32, strict=False)
    finite = pl.when(number.is_finite()).then(number)
    return finite, stands & finite.is_null()


def _in_words(columns: Sequence[str], types: pl.Schema) -> pl.Expr:
    pieces = []
    for name in columns:
        text = pl.col(name).cast(pl.String, strict=False)
        if types[name] == pl.Binary:
            text = pl.col(name).bin.encode("hex")
        pieces.append(pl.lit(f"{name}: ") + text.fill_null("null"))
    return pl.concat_str(pieces, separator=", ").str.slice(0, KEPT_TEXT)


def _identifier(path: Path, name: str, types: pl.Schema) -> pl.Expr:
    if not is_id_type(types[name]):
        raise SidiffError(
            f"Column {name} of {path} holds {types[name]}: name a column of texts or "
            "whole numbers."
        )
    return identifier(pl.col(name), types[name])


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
