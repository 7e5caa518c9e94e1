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

from sidiff.errors import SidiffError
from sidiff.reviews import item_tables
from sidiff.reviews.ingestion import (
    INTERACTIONS,
    KEPT_TEXT,
    REJECTED,
    Ingested,
    first_of_each_item,
    join,
)
from sidiff.reviews.interaction_rows import (
    CHANGED,
    HEADER,
    LOST,
    MOVED,
    OTHER_UNIT,
    REASON,
    TEXT,
    check_rows,
)
from sidiff.reviews.settings import InteractionColumns, ItemColumns
from sidiff.reviews.streams import LINE, ROW
from sidiff.reviews.tables import (
    column_names,
    lines_of,
    readable,
    scan,
    second_order,
)
from sidiff.reviews.text import PRICE_TEXT
from sidiff.reviews.times import PLAUSIBLE_SECOND

logger = logging.getLogger(__name__)

_KEPT_ROWS = 100_000
_LISTED_CHARACTERS = 1000
_LISTED_REASONS = 5
# 1972-01-01: all times of a log before it are seconds that were taken for a finer unit.
_TOO_EARLY = 63_072_000
# What else of 1990 to 2100 people write as a whole number: its ends, what it is called
# and what to do about it.
_NO_SECONDS = {
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
_NEARLY_ALL = 0.9
# A user with more of the log than this, and than so many times the mean, is many.
_LARGE_SHARE, _TIMES_THE_MEAN = 0.05, 10
# Rows in which the largest user is looked for, and what a row takes at least.
_SAMPLED_ROWS, _BYTES_OF_A_ROW = 50_000, 16


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
    last = max(found["last"] or 0 for _, found in parts)
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
    for name in ("first_before_1990", *_NO_SECONDS):
        del notes[name]
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
        checked = check_rows(path, rows, columns, now)
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
                    for kind, (ends, *_) in _NO_SECONDS.items()
                },
                moved=pl.col(ROW).filter(pl.col(MOVED)).min(),
                last=pl.col("timestamp").filter(good).max(),
                before_1990=old.sum(),
                first_before_1990=pl.col(ROW).filter(old).min(),
                ratings_not_read=(good & pl.col(LOST)).sum(),
                changed=pl.col(CHANGED).any(),
                users=pl.col("user_id")
                .filter(good & (pl.col(ROW) % _stride(path) == 0))
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
            checked = check_rows(path, rows, columns, now, tidy=True)
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
    return read, found | {"reasons": reasons}


def _set_aside(path: Path, wrong: pl.LazyFrame) -> tuple[pl.DataFrame, dict[str, int]]:
    """The first of the rows set aside, and how many there are for each reason."""
    shown = wrong.head(_KEPT_ROWS).select(
        ROW, LINE, file=pl.lit(path.name), line=ROW, reason=REASON, text=TEXT
    )
    rejected, counted = pl.collect_all(
        [shown, wrong.group_by(REASON).len()], engine="streaming"
    )
    return _with_lines(path, rejected), dict(counted.iter_rows())


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
        **{kind: sum(part[kind] for part in parts) for kind in _NO_SECONDS},
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
    """Stop where no time is of the unit that the settings say.

    ``last`` is the latest second of the good rows.
    """
    others = any(OTHER_UNIT in reason for reason in notes["reasons"])
    early = last < _TOO_EARLY if read.rows else others
    if columns.time_unit in ("ms", "us", "ns") and early:
        raise SidiffError(
            f"All times in {columns.timestamp} of {path} lie before 1972 when read as "
            f"{columns.time_unit}: set ingestion.interactions.time_unit to s."
        )
    if columns.time_unit != "s":
        return
    for kind, (_, are, write) in _NO_SECONDS.items():
        if notes[kind] > _NEARLY_ALL * read.rows:
            raise SidiffError(
                f"The times in {columns.timestamp} of {path} look like {are} (up to "
                f"{last}), not seconds since 1970: {write}."
            )


def _check_columns(
    path: Path, names: Sequence[str], wanted: Sequence[str], table: str
) -> None:
    if not names:
        raise SidiffError(
            f"{path} has no objects with named fields: give one object for each row "
            f"of {table}."
        )
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
    text = " ".join((first["text"] or "").split())[:_LISTED_CHARACTERS]
    dates = " (dates are read as 2026-03-31T18:30, ISO 8601)"
    return SidiffError(
        f"No row of {path} could be read (row {first['line']}: {first['reason']}: "
        f"{text}): correct ingestion.{table} in parameters.yml or give the right file"
        f"{dates if 'time' in first['reason'] else ''}."
    )
