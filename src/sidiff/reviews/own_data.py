"""Tables of a shop's own to the frames that Amazon's files give.

Interactions may be larger than the memory: every check is an expression over the
scanned rows, one pass counts and gathers what fails, and the frame that is returned
reads the rows again when it is written: ``interaction_tables``. Items are read by
``item_tables``.
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
from sidiff.reviews import interaction_tables, item_tables
from sidiff.reviews.ingestion import Ingested, first_of_each_item, join
from sidiff.reviews.interaction_tables import KEPT_ROWS
from sidiff.reviews.settings import InteractionColumns, ItemColumns
from sidiff.reviews.tables import LISTED_CHARACTERS, check_columns, column_names
from sidiff.reviews.text import PRICE_TEXT

logger = logging.getLogger(__name__)

_LISTED_REASONS = 5
# A user with more of the log than this, and than so many times the mean, is named.
_LARGE_SHARE, _TIMES_THE_MEAN = 0.05, 10


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
        SidiffError: a file cannot be read, lacks a column, or has no good row.
    """
    parts = [interaction_tables.read(path, columns, now) for path in paths]
    read = join([part for part, _ in parts])
    found = [notes for _, notes in parts]
    reasons: Counter[str] = Counter()
    for notes in found:
        reasons.update(notes["reasons"])
    if not read.rows:
        raise _no_row(paths[0], "interactions", read)
    if read.set_aside:
        _warn("Interactions set aside", read, reasons)
    before_1990 = sum(notes["before_1990"] for notes in found)
    if before_1990:
        logger.warning(
            "Interactions before 1990, which hardly any log has: %s", f"{before_1990:,}"
        )
    largest = _largest(pl.concat([notes["users"] for notes in found]))
    if largest:
        logger.warning(
            "User %s has %.0f %% of the interactions: is it one customer, or a value "
            "that means none?",
            largest["user_id"],
            100 * largest["share"],
        )
    notes = {
        "before_1990": before_1990,
        "ratings_not_read": sum(notes["ratings_not_read"] for notes in found),
        "reasons": dict(reasons),
        "largest_user": largest,
    }
    return replace(read, rejected=read.rejected.head(KEPT_ROWS), notes=notes)


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
    check_columns(paths[0], every, wanted, "items")
    read = first_of_each_item([item_tables.read(path, columns) for path in paths])
    reasons = dict(read.rejected["reason"].value_counts().iter_rows())
    if not read.rows:
        raise _no_row(paths[0], "items", read)
    if read.set_aside:
        _warn("Items set aside", read, reasons)
    frame = item_tables.with_prices(read.frame.collect())
    as_text = 0
    if PRICE_TEXT in frame.columns:
        as_text = frame[PRICE_TEXT].count()
        logger.warning("Prices that are no single amount: %s", f"{as_text:,}")
    notes = {"prices_as_text": as_text, "reasons": reasons}
    return replace(read, frame=frame.lazy(), notes=notes)


def _largest(users: pl.Series) -> dict[str, Any] | None:
    """The user who has most of the rows, if that is more than one customer buys."""
    if not len(users):
        return None
    counts = users.value_counts(name="len")
    name, most = counts.sort("len", "user_id", descending=[True, False]).row(0)
    rows = len(users)
    if most <= max(_LARGE_SHARE * rows, _TIMES_THE_MEAN * rows / len(counts)):
        return None
    return {"user_id": name, "share": most / rows}


def _warn(what: str, read: Ingested, reasons: dict[str, int]) -> None:
    commonest = Counter(reasons).most_common(_LISTED_REASONS)
    listed = "; ".join(f"{reason}: {count:,}" for reason, count in commonest)
    logger.warning("%s: %s (%s)", what, f"{read.set_aside:,}", listed)


def _no_row(path: Path, table: str, read: Ingested) -> SidiffError:
    if not read.lines:
        return SidiffError(f"{path} has no rows: give a table of {table}.")
    first = read.rejected.row(0, named=True)
    text = " ".join((first["text"] or "").split())[:LISTED_CHARACTERS]
    dates = " (dates are read as 2026-03-31T18:30, ISO 8601)"
    return SidiffError(
        f"No row of {path} could be read (row {first['line']}: {first['reason']}: "
        f"{text}): correct ingestion.{table} in parameters.yml or give the right file"
        f"{dates if 'time' in first['reason'] else ''}."
    )
