"""Interactions from a table: expressions that convert and check every row."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl
from polars.datatypes import DataType

from sidiff.errors import SidiffError
from sidiff.reviews.ingestion import INTERACTIONS, KEPT_TEXT, REJECTED, Ingested
from sidiff.reviews.layouts import LATEST_SECOND
from sidiff.reviews.settings import InteractionColumns
from sidiff.reviews.streams import FAULT, LINE, ROW
from sidiff.reviews.tables import (
    check_columns,
    column_names,
    other_order,
    readable,
    scan,
)
from sidiff.reviews.times import PLAUSIBLE_SECOND, Time, is_moment_type, moments, ticks
from sidiff.reviews.values import identifier, is_id_type, present

SET_ASIDE = "the row is set aside"
REASON = "why the row is set aside"
TEXT = "the row in words"
INVALID_RATING = "the rating is not a number"
OTHER_UNIT = "is a time in a coarser unit"
OTHER_ORDER = "the header in another order"
KEPT_ROWS = 100_000
"""Rows set aside that are kept with their texts."""
# Clocks differ, and a time without a zone may be ahead of UTC.
_CLOCK_TOLERANCE_SECONDS = 86_400


def read(
    path: Path, columns: InteractionColumns, now: int
) -> tuple[Ingested, dict[str, Any]]:
    """Read the interactions of a file.

    Returns:
        The rows, possibly none, and entries of the report: ``before_1990``,
        ``ratings_not_read`` and ``reasons``.
    """
    ids = [columns.user, columns.item]
    others = [columns.timestamp, *([columns.rating] if columns.rating else [])]
    names = column_names(path, [*ids, *others])
    check_columns(path, names, [*ids, *others], "interactions")
    with readable(path):
        checked = _checked(path, scan(path, ids, others), columns, names, now)
        good, seconds = ~pl.col(SET_ASIDE), pl.col("timestamp")
        counts = (
            checked.select(
                rows=good.sum(),
                bad=pl.col(SET_ASIDE).sum(),
                before_1990=(good & (seconds < PLAUSIBLE_SECOND)).sum(),
                ratings_not_read=(good & pl.col(INVALID_RATING)).sum(),
            )
            .collect(engine="streaming")
            .row(0, named=True)
        )
        rejected = pl.DataFrame(schema=REJECTED)
        reasons: dict[str, int] = {}
        if counts["bad"]:
            rejected, reasons = _set_aside(path, checked.filter(SET_ASIDE))
    rows, bad = counts.pop("rows"), counts.pop("bad")
    frame = checked.filter(good).select(INTERACTIONS.names())
    part = Ingested(frame, rejected, rows + bad, rows, bad)
    return part, counts | {"reasons": reasons}


def _set_aside(path: Path, wrong: pl.LazyFrame) -> tuple[pl.DataFrame, dict[str, int]]:
    """Return the first rows set aside, and the number of rows for each reason.

    Their text is the raw line if it was kept, else their ids and time.

    Raises:
        SidiffError: one is the header with its columns in another order.
    """
    shown = wrong.head(KEPT_ROWS).select(
        file=pl.lit(path.name),
        line=ROW,
        reason=REASON,
        text=pl.coalesce(pl.col(LINE).str.slice(0, KEPT_TEXT), TEXT),
    )
    moved = wrong.select(pl.col(ROW).filter(OTHER_ORDER).min())
    rejected, counted, first = pl.collect_all(
        [shown, wrong.group_by(REASON).len(), moved], engine="streaming"
    )
    if first.item() is not None:
        raise other_order(path, first.item())
    return rejected, dict(counted.iter_rows())


def _checked(
    path: Path,
    rows: pl.LazyFrame,
    columns: InteractionColumns,
    names: Sequence[str],
    now: int,
) -> pl.LazyFrame:
    """Convert rows, and add the reason to set a row aside or null."""
    raw = list(dict.fromkeys([columns.user, columns.item, columns.timestamp]))
    types = rows.collect_schema()
    rating, invalid_rating = _rating(columns.rating, types)
    time = _time(path, columns, types[columns.timestamp])
    typed = rows.select(
        ROW,
        FAULT,
        LINE,
        _in_words(raw, types).alias(TEXT),
        _in_other_order(raw, names, types).alias(OTHER_ORDER),
        time.other_unit.alias(OTHER_UNIT),
        invalid_rating.alias(INVALID_RATING),
        user_id=_identifier(path, columns.user, types),
        item_id=_identifier(path, columns.item, types),
        timestamp=time.seconds,
        microsecond=time.microseconds,
        rating=rating,
    )
    checks = _checks(columns, now)
    bad = pl.any_horizontal(pl.col(FAULT).is_not_null(), *checks.values())
    # The marks alone serve the first pass: texts are only made for bad rows.
    reasons = (pl.when(test).then(pl.lit(reason)) for reason, test in checks.items())
    return typed.with_columns(
        bad.alias(SET_ASIDE), pl.coalesce(FAULT, *reasons).alias(REASON)
    )


def _checks(columns: InteractionColumns, now: int) -> dict[str, pl.Expr]:
    """Return the reasons to set a converted row aside, each with its test."""
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
        f"{time} lies in the future": seconds > now + _CLOCK_TOLERANCE_SECONDS,
    }


def _rating(name: str | None, types: pl.Schema) -> tuple[pl.Expr, pl.Expr]:
    """Return the rating (f32), and whether it is present but not a number."""
    if name is None:
        return pl.lit(None, pl.Float32), pl.lit(value=False)
    column, given = pl.col(name), pl.lit(value=False)
    if types[name] == pl.String:
        text = present(column)
        # Many countries write 4,5 for 4.5.
        column = text.str.replace(r"^(-?\d+),(\d+)$", "${1}.${2}")
        given = text.is_not_null()
    number = column.cast(pl.Float32, strict=False)
    finite = pl.when(number.is_finite()).then(number)
    return finite, given & finite.is_null()


def _in_other_order(
    raw: Sequence[str], names: Sequence[str], types: pl.Schema
) -> pl.Expr:
    """Whether a row is the header once more with other columns at these places."""
    if any(types[name] != pl.String for name in raw):
        return pl.lit(value=False)
    known = pl.all_horizontal(pl.col(name).is_in(list(names)) for name in raw)
    return known & pl.any_horizontal(pl.col(name) != name for name in raw)


def _in_words(columns: Sequence[str], types: pl.Schema) -> pl.Expr:
    """Columns of a row as one text, such as ``user: u1, item: i1``."""
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
    """The time of a row, in the unit that the settings name."""
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
