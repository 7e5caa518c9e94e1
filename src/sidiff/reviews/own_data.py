"""Tables of a shop's own to the frames that Amazon's files give.

Interactions may be larger than the memory: every check is an expression over the
scanned rows, one pass counts and gathers what fails, and the frame that is returned
reads the rows again when it is written. Items are read by ``item_tables``.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
from polars.datatypes import DataType

from sidiff.errors import SidiffError
from sidiff.parameters import InteractionColumns, ItemColumns
from sidiff.reviews import item_tables
from sidiff.reviews.ingestion import (
    INTERACTIONS,
    KEPT_TEXT,
    REJECTED,
    Ingested,
    first_of_each_item,
    join,
)
from sidiff.reviews.layouts import LATEST_SECOND
from sidiff.reviews.tables import (
    FAULT,
    LINE,
    ROW,
    column_names,
    header_of,
    lines_of,
    readable,
    scan,
)
from sidiff.reviews.text import PRICE_TEXT
from sidiff.reviews.times import (
    PLAUSIBLE_SECOND,
    is_moment_type,
    moments,
    ticks,
)
from sidiff.reviews.values import identifier, is_id_type, present

logger = logging.getLogger(__name__)

_KEPT_ROWS = 100_000
_LISTED_CHARACTERS = 1000
_LISTED_REASONS = 5
# 1972-01-01: all times of a log before it are seconds that were taken for a finer unit.
_TOO_EARLY = 63_072_000
# Clocks differ, and a time without a zone may be ahead of UTC.
_TOLERATED_SECONDS = 86_400
# A user with more of the log than this, and than so many times the mean, is many.
_LARGE_SHARE, _TIMES_THE_MEAN = 0.05, 10
# Rows in which the largest user is looked for, and what a row takes at least.
_SAMPLED_ROWS, _BYTES_OF_A_ROW = 50_000, 16
_OTHER_UNIT = "is a time in a coarser unit"
_REASON = "why the row is set aside"
_TEXT = "the row in words"
_HEADER = "the row is the header once more"
_LOST = "the rating is no number"
_CHANGED = "an id is not as it stands there"


def ingest_interactions(
    paths: Sequence[Path], columns: InteractionColumns, now: int
) -> Ingested:
    """Check the rows of an interactions table, and count them.

    A row is set aside when an id is missing, the time is missing, before 1970, in
    another unit or more than a day after ``now``, or the row is damaged. A wrong rating
    is null.

    Args:
        paths: the table's files, of one format or several; read twice, as ``frame``
            reads them again.
        columns: which column is what.
        now: seconds since 1970.

    Returns:
        ``frame`` as ``sidiff.reviews.ingestion.ingest_reviews`` has it, not read yet;
        ``notes``: ``before_1990``, ``ratings_not_read`` (rows), ``reasons`` (rows set
        aside by reason), ``largest_user`` (id and share of the rows, from a sample of
        large tables; null if no user stands out).

    Raises:
        SidiffError: a file cannot be read, lacks a column, is empty, or its times are
            of another unit.
    """
    parts = [_ingest_file(path, columns, now) for path in paths]
    read = join([part for part, _ in parts])
    notes = _join_notes([found for _, found in parts])
    last = max(found["last"] for _, found in parts)
    _check_unit(paths[0], columns, read, notes, last)
    if not read.rows:
        raise _no_row(paths[0], "interactions", read)
    if read.set_aside:
        logger.warning(
            "Interactions set aside: %s (%s)",
            f"{read.set_aside:,}",
            _listed(notes["reasons"]),
        )
    if notes["before_1990"]:
        logger.warning(
            "Interactions before 1990, which hardly any log has: %s (first row: %s)",
            f"{notes['before_1990']:,}",
            notes["first_before_1990"],
        )
    if notes["largest_user"]:
        logger.warning(
            "User %(user)s has %(share).0f %% of the interactions: is it one customer, "
            "or what stands for none?",
            {
                "user": notes["largest_user"]["user_id"],
                "share": 100 * notes["largest_user"]["share"],
            },
        )
    del notes["first_before_1990"]
    return replace(read, rejected=read.rejected.head(_KEPT_ROWS), notes=notes)


def ingest_items(paths: Sequence[Path], columns: ItemColumns) -> Ingested:
    """Read an item table; an item's first row counts.

    Args:
        paths: the table's files, of one format or several.
        columns: which column is the id, and which are fields under another name.

    Returns:
        ``frame`` has the columns of ``sidiff.reviews.ingestion.ingest_items`` (null
        where the table has no such), then every other column of the table: a text, or
        a list of texts where a value has several parts; and, if some prices are no
        single amount, ``price_text`` with those as they are written. ``notes``:
        ``prices_as_text`` (items), ``reasons``.

    Raises:
        SidiffError: a file cannot be read, lacks a column, or holds no item.
    """
    names = [column_names(path) for path in paths]
    every = list(dict.fromkeys(name for part in names for name in part))
    wanted = [columns.item, *columns.fields.values()]
    _check_columns(paths[0], every, wanted, "items")
    read = first_of_each_item([item_tables.read(path, columns) for path in paths])
    reasons = dict(read.rejected["reason"].value_counts().iter_rows())
    if not read.rows:
        raise _no_row(paths[0], "items", read)
    if read.set_aside:
        logger.warning(
            "Items set aside: %s (%s)", f"{read.set_aside:,}", _listed(reasons)
        )
    frame = item_tables.with_prices(read.frame.collect())
    untold = 0
    if PRICE_TEXT in frame.columns:
        untold = len(frame) - frame[PRICE_TEXT].null_count()
        logger.warning("Prices that are no single amount: %s", f"{untold:,}")
    notes = {"prices_as_text": untold, "reasons": reasons}
    return replace(read, frame=frame.lazy(), notes=notes)


def _ingest_file(
    path: Path, columns: InteractionColumns, now: int
) -> tuple[Ingested, dict[str, Any]]:
    """One file's rows, of which there may be none, and what is to be told of them."""
    ids = [columns.user, columns.item]
    others = [columns.timestamp, *([columns.rating] if columns.rating else [])]
    names = column_names(path, [*ids, *others])
    _check_columns(path, names, [*ids, *others], "interactions")
    with readable(path):
        rows = scan(path, ids, others)
        checked = _check_rows(path, rows, columns, now)
        bad, header = pl.col(_REASON).is_not_null(), pl.col(_HEADER)
        good = ~bad & ~header
        old = good & (pl.col("timestamp") < PLAUSIBLE_SECOND)
        found: dict[str, Any] = (
            checked.select(
                headers=header.sum(),
                rows=good.sum(),
                set_aside=(bad & ~header).sum(),
                last=pl.col("timestamp").filter(good).max(),
                before_1990=old.sum(),
                first_before_1990=pl.col(ROW).filter(old).min(),
                ratings_not_read=(good & pl.col(_LOST)).sum(),
                changed=pl.col(_CHANGED).any(),
                users=pl.col("user_id")
                .filter(good & (pl.col(ROW) % _stride(path) == 0))
                .implode(),
            )
            .collect(engine="streaming")
            .row(0, named=True)
        )
        rejected, reasons = pl.DataFrame(schema=REJECTED), {}
        if found["set_aside"]:
            wrong = checked.filter(bad & ~header)
            rejected, counted = pl.collect_all(
                [
                    wrong.head(_KEPT_ROWS).select(
                        ROW,
                        LINE,
                        file=pl.lit(path.name),
                        line=ROW,
                        reason=_REASON,
                        text=_TEXT,
                    ),
                    wrong.group_by(_REASON).len(),
                ],
                engine="streaming",
            )
            rejected = _with_lines(path, rejected)
            reasons = dict(counted.iter_rows())
        if not found["changed"]:
            # The ids are tidy as they are: nothing needs to be looked at again.
            checked = _check_rows(path, rows, columns, now, tidy=True)
    read = Ingested(
        frame=checked.filter(good).select(INTERACTIONS.names()),
        rejected=rejected,
        lines=found["headers"] + found["rows"] + found["set_aside"],
        rows=found["rows"],
        set_aside=found["set_aside"],
        duplicates=0,
        headers=found["headers"],
    )
    users = pl.Series("user_id", found["users"], dtype=pl.String)
    found["users"] = users.value_counts(name="len")
    return read, found | {"last": found["last"] or 0, "reasons": reasons}


def _stride(path: Path) -> int:
    """Every how manyeth row is enough to find who has a large part of a table."""
    return max(1, path.stat().st_size // (_SAMPLED_ROWS * _BYTES_OF_A_ROW))


def _with_lines(path: Path, rejected: pl.DataFrame) -> pl.DataFrame:
    """Rows set aside, with the beginning of their lines for a text."""
    if len(rejected) and rejected[LINE].is_null().all():
        lines = lines_of(path, rejected[ROW])
        if lines is not None:
            rejected = rejected.drop(LINE).join(
                lines, on=ROW, how="left", maintain_order="left"
            )
    line = pl.col(LINE).str.slice(0, KEPT_TEXT)
    return rejected.select("file", "line", "reason", text=pl.coalesce(line, "text"))


def _join_notes(parts: Sequence[dict[str, Any]]) -> dict[str, Any]:
    reasons: Counter[str] = Counter()
    for part in parts:
        reasons.update(part["reasons"])
    users = pl.concat([part["users"] for part in parts])
    users = users.group_by("user_id").agg(pl.col("len").sum())
    firsts = [part["first_before_1990"] for part in parts]
    return {
        "before_1990": sum(part["before_1990"] for part in parts),
        "first_before_1990": next((row for row in firsts if row is not None), None),
        "ratings_not_read": sum(part["ratings_not_read"] for part in parts),
        "reasons": dict(reasons),
        "largest_user": _largest(users),
    }


def _largest(users: pl.DataFrame) -> dict[str, Any] | None:
    """The user who has most of the rows, if that is more than one customer buys."""
    if not len(users):
        return None
    rows = int(users["len"].sum())
    name, most = users.sort("len", "user_id", descending=[True, False]).row(0)
    if most <= max(_LARGE_SHARE * rows, _TIMES_THE_MEAN * rows / len(users)):
        return None
    return {"user_id": name, "share": most / rows}


def _listed(reasons: dict[str, int]) -> str:
    commonest = Counter(reasons).most_common(_LISTED_REASONS)
    return "; ".join(f"{reason}: {count:,}" for reason, count in commonest)


def _check_unit(
    path: Path,
    columns: InteractionColumns,
    read: Ingested,
    notes: dict[str, Any],
    last: int,
) -> None:
    """Stop where no time is of the unit that the settings say."""
    others = any(_OTHER_UNIT in reason for reason in notes["reasons"])
    early = read.rows and last < _TOO_EARLY
    if columns.time_unit in ("ms", "us", "ns") and (
        early or (not read.rows and others)
    ):
        raise SidiffError(
            f"All times in {columns.timestamp} of {path} lie before 1972 when read as "
            f"{columns.time_unit}: set ingestion.interactions.time_unit to s."
        )


def _check_rows(
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
    types = rows.collect_schema()
    raw = list(dict.fromkeys([columns.user, columns.item, columns.timestamp]))
    rating, lost = _rating(columns.rating, types)
    seconds, other_unit = _seconds(path, columns, types[columns.timestamp])
    ids = {"user_id": columns.user, "item_id": columns.item}
    as_they_are = {kind for kind in ids if tidy and types[ids[kind]] == pl.String}
    texts = {kind for kind in ids if types[ids[kind]] == pl.String}
    typed = rows.select(
        ROW,
        FAULT,
        LINE,
        _in_words(raw).alias(_TEXT),
        _is_header(path, raw).alias(_HEADER),
        other_unit.alias(_OTHER_UNIT),
        lost.alias(_LOST),
        *(pl.col(ids[kind]).alias(f"{kind} as it is") for kind in texts),
        *(
            pl.col(name).alias(kind)
            if kind in as_they_are
            else _identifier(path, name, types[name]).alias(kind)
            for kind, name in ids.items()
        ),
        timestamp=seconds,
        rating=rating,
    )
    changed = (pl.col(f"{kind} as it is").ne_missing(pl.col(kind)) for kind in texts)
    seconds = pl.col("timestamp")
    reason = (
        pl.when(pl.col(FAULT).is_not_null())
        .then(FAULT)
        .when(pl.col("user_id").is_null())
        .then(pl.lit(f"no text or whole number in {columns.user}"))
        .when(pl.col("item_id").is_null())
        .then(pl.lit(f"no text or whole number in {columns.item}"))
        .when(seconds.is_null())
        .then(pl.lit(f"no time in {columns.timestamp}"))
        .when(_OTHER_UNIT)
        .then(pl.lit(f"{columns.timestamp} {_OTHER_UNIT} than {columns.time_unit}"))
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
    return typed.with_columns(
        reason.alias(_REASON),
        pl.any_horizontal(pl.lit(value=False), *changed).alias(_CHANGED),
    )


def _is_header(path: Path, names: Sequence[str]) -> pl.Expr:
    """Whether a row is the header, which concatenated files repeat."""
    header = header_of(path)
    if not header:
        return pl.lit(value=False)
    same = (pl.col(name) == header[name] for name in names)
    return pl.all_horizontal(*same).fill_null(value=False)


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


def _in_words(columns: Sequence[str]) -> pl.Expr:
    pieces = [
        pl.format(
            "{}: {}", pl.lit(name), pl.col(name).cast(pl.String, strict=False)
        ).fill_null(f"{name}: null")
        for name in columns
    ]
    return pl.concat_str(pieces, separator=", ").str.slice(0, KEPT_TEXT)


def _identifier(path: Path, name: str, dtype: DataType) -> pl.Expr:
    if not is_id_type(dtype):
        raise SidiffError(
            f"Column {name} of {path} holds {dtype}: name a column of texts or whole "
            "numbers."
        )
    return identifier(pl.col(name), dtype)


def _seconds(
    path: Path, columns: InteractionColumns, dtype: DataType
) -> tuple[pl.Expr, pl.Expr]:
    """Seconds since 1970 UTC, null where there is no time; whether of another unit."""
    column, unit = pl.col(columns.timestamp), columns.time_unit
    if unit == "datetime":
        if not is_moment_type(dtype):
            raise SidiffError(
                f"Column {columns.timestamp} of {path} holds {dtype}: set "
                "ingestion.interactions.time_unit to s, ms, us or ns."
            )
        return moments(column, dtype), pl.lit(value=False)
    if not dtype.is_numeric() and dtype != pl.String:
        raise SidiffError(
            f"Column {columns.timestamp} of {path} holds {dtype}: set "
            "ingestion.interactions.time_unit to datetime."
        )
    return ticks(column, dtype, unit)


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
