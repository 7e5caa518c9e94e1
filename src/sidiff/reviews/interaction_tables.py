"""Interactions of a shop's own: expressions that type and check rows, one pass."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
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
    second_order,
    spelling,
)
from sidiff.reviews.times import PLAUSIBLE_SECOND, Time, is_moment_type, moments, ticks
from sidiff.reviews.values import identifier, is_id_type, present

REASON = "why the row is set aside"
"""Null for a good row."""
TEXT = "the row in words"
HEADER = "the row is the header once more"
MOVED = "the row is the header in another order"
LOST = "the rating is no number"
CHANGED = "an id is not as it stands there"
OTHER_UNIT = "is a time in a coarser unit"
KEPT_ROWS = 100_000
"""Rows set aside that are kept with their texts."""
# What else of 1990 to 2100 people write as a whole number: its ends, what it is called
# and what to do about it.
NO_SECONDS = {
    "dates": (
        (19_900_101, 21_001_231),
        "dates (20250303)",
        "write them as texts and set ingestion.interactions.time_unit to datetime",
    ),
    "days": (
        (32_874, 73_050),
        "a spreadsheet's numbers of days",
        "format them as dates (2025-03-03 08:01) and set "
        "ingestion.interactions.time_unit to datetime",
    ),
}
_SAME_ORDER, _OTHER_ORDER = 1, 2
# Rows in which the largest user is looked for, and what a row takes at least.
_SAMPLED_ROWS, _BYTES_OF_A_ROW = 50_000, 16
# Clocks differ, and a time without a zone may be ahead of UTC.
_TOLERATED_SECONDS = 86_400


def read(
    path: Path, columns: InteractionColumns, now: int
) -> tuple[Ingested, dict[str, Any]]:
    """One file's rows, of which there may be none, and what is to be told of them."""
    ids = [columns.user, columns.item]
    others = [columns.timestamp, *([columns.rating] if columns.rating else [])]
    names = column_names(path, [*ids, *others])
    check_columns(path, names, [*ids, *others], "interactions")
    # Every so manyeth row is enough to find who has a large part of a table.
    stride = max(1, path.stat().st_size // (_SAMPLED_ROWS * _BYTES_OF_A_ROW))
    with readable(path):
        rows = scan(path, ids, others)
        checked = _checked(path, rows, columns, now)
        bad, header = pl.col(REASON).is_not_null(), pl.col(HEADER)
        good = ~bad & ~header
        old = good & (pl.col("timestamp") < PLAUSIBLE_SECOND)
        found: dict[str, Any] = (
            checked.select(
                headers=header.sum(),
                rows=good.sum(),
                set_aside=(bad & ~header).sum(),
                **{
                    kind: (good & pl.col("timestamp").is_between(*ends)).sum()
                    for kind, (ends, *_) in NO_SECONDS.items()
                },
                moved=pl.col(ROW).filter(pl.col(MOVED)).min(),
                last=pl.col("timestamp").filter(good).max(),
                before_1990=old.sum(),
                first_before_1990=pl.col(ROW).filter(old).min(),
                ratings_not_read=(good & pl.col(LOST)).sum(),
                changed=pl.col(CHANGED).any(),
                users=pl.col("user_id")
                .filter(good & (pl.col(ROW) % stride == 0))
                .implode(),
            )
            .collect(engine="streaming")
            .row(0, named=True)
        )
        if found["moved"] is not None:
            raise second_order(path, found["moved"])
        rejected = pl.DataFrame(schema=REJECTED)
        reasons: dict[str, int] = {}
        if found["set_aside"]:
            rejected, reasons = _set_aside(path, checked.filter(bad & ~header))
        if not found["changed"]:
            # The ids are tidy as they are: nothing needs to be looked at again.
            checked = _checked(path, rows, columns, now, tidy=True)
    counts = {name: found.pop(name) for name in ("rows", "set_aside", "headers")}
    frame = checked.filter(good).select(INTERACTIONS.names())
    part = Ingested(frame, rejected, sum(counts.values()), **counts)
    users = pl.Series("user_id", found["users"], dtype=pl.String)
    return part, found | {"users": users, "reasons": reasons}


def _set_aside(path: Path, wrong: pl.LazyFrame) -> tuple[pl.DataFrame, dict[str, int]]:
    """The first of the rows set aside, and how many there are for each reason.

    Their text is the beginning of their lines, if they have such.
    """
    shown = wrong.head(KEPT_ROWS).select(
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
    texts = {kind: name for kind, name in ids.items() if types[name] == pl.String}
    typed = rows.select(
        ROW,
        FAULT,
        LINE,
        _in_words(raw, types).alias(TEXT),
        (place == _SAME_ORDER).alias(HEADER),
        (place == _OTHER_ORDER).alias(MOVED),
        time.other_unit.alias(OTHER_UNIT),
        lost.alias(LOST),
        *(pl.col(name).alias(f"{kind} as it is") for kind, name in texts.items()),
        *(
            (
                pl.col(name)
                if tidy and kind in texts
                else _identifier(path, name, types[name])
            ).alias(kind)
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
    time, unit = columns.timestamp, columns.time_unit
    checks = {
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
    wrong = (pl.when(test).then(pl.lit(reason)) for reason, test in checks.items())
    return pl.coalesce(FAULT, *wrong)


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
