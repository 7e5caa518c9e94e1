"""Ingestion of tables with any column names (``layout: table``).

The result has the same columns as that of Amazon's files. Interactions may exceed the
memory (``interaction_tables``): one pass checks and counts the scanned rows, and the
returned frame scans them again when it is written. ``item_tables`` reads items.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from sidiff.errors import SidiffError
from sidiff.reviews import interaction_tables, item_tables
from sidiff.reviews.ingestion import Ingested, first_of_each_item, join
from sidiff.reviews.interaction_tables import KEPT_ROWS
from sidiff.reviews.settings import InteractionColumns, ItemColumns
from sidiff.reviews.tables import LISTED_CHARACTERS, check_columns, column_names
from sidiff.reviews.text import PRICE_TEXT

logger = logging.getLogger(__name__)

_LISTED_REASONS = 5


def ingest_interactions(
    paths: Sequence[Path], columns: InteractionColumns, now: int
) -> Ingested:
    """Check and count the rows of an interactions table.

    A row is set aside when an id or the time is missing, when the time lies before
    1970, more than a day after ``now`` or in another unit, or when the row is damaged.
    A rating that is not a number becomes null.

    Args:
        paths: the table's files, of one format or several.
        columns: names of the columns, and the unit of the time.
        now: seconds since 1970.

    Returns:
        ``frame`` with the columns of ``sidiff.reviews.ingestion.ingest_reviews``, which
        scans the files again. ``notes``: ``before_1990`` and ``ratings_not_read``
        (rows), ``reasons`` (rows set aside, by reason).

    Raises:
        SidiffError: a file cannot be read, lacks a column, or has no good row.
    """
    parts = [interaction_tables.read(path, columns, now) for path in paths]
    result = join([part for part, _ in parts])
    reasons: Counter[str] = Counter()
    for _, counts in parts:
        reasons.update(counts["reasons"])
    if not result.rows:
        raise _no_row(paths[0], "interactions", result)
    if result.set_aside:
        _warn("Interactions set aside", result, reasons)
    before_1990 = sum(counts["before_1990"] for _, counts in parts)
    if before_1990:
        logger.warning(
            "Interactions before 1990, which is unusual: %s", f"{before_1990:,}"
        )
    notes = {
        "before_1990": before_1990,
        "ratings_not_read": sum(counts["ratings_not_read"] for _, counts in parts),
        "reasons": dict(reasons),
    }
    return replace(result, rejected=result.rejected.head(KEPT_ROWS), notes=notes)


def ingest_items(paths: Sequence[Path], columns: ItemColumns) -> Ingested:
    """Read an item table; an item's first row counts.

    Args:
        paths: the table's files, of one format or several.
        columns: names of the id column and of renamed fields.

    Returns:
        ``frame`` has the columns of ``sidiff.reviews.ingestion.ingest_items`` (null if
        the table lacks one), then every other column of the table as a text, or as a
        list of texts if some value has several parts. Prices that are not a single
        amount are in a column ``price_text``. ``notes``: ``prices_as_text`` (items),
        ``reasons`` (rows set aside, by reason).

    Raises:
        SidiffError: a file cannot be read, lacks a column, or has no good row.
    """
    names = [column_names(path) for path in paths]
    every = list(dict.fromkeys(name for part in names for name in part))
    check_columns(paths[0], every, [columns.item, *columns.fields.values()], "items")
    result = first_of_each_item([item_tables.read(path, columns) for path in paths])
    reasons = dict(result.rejected["reason"].value_counts().iter_rows())
    if not result.rows:
        raise _no_row(paths[0], "items", result)
    if result.set_aside:
        _warn("Items set aside", result, reasons)
    frame = item_tables.with_prices(result.frame.collect())
    as_text = 0
    if PRICE_TEXT in frame.columns:
        as_text = frame[PRICE_TEXT].count()
        logger.warning("Prices that are not a single amount: %s", f"{as_text:,}")
    notes = {"prices_as_text": as_text, "reasons": reasons}
    return replace(result, frame=frame.lazy(), notes=notes)


def _warn(message: str, result: Ingested, reasons: dict[str, int]) -> None:
    commonest = Counter(reasons).most_common(_LISTED_REASONS)
    listed = "; ".join(f"{reason}: {count:,}" for reason, count in commonest)
    logger.warning("%s: %s (%s)", message, f"{result.set_aside:,}", listed)


def _no_row(path: Path, table: str, result: Ingested) -> SidiffError:
    if not result.lines:
        return SidiffError(f"{path} has no rows: give a table of {table}.")
    first = result.rejected.row(0, named=True)
    text = " ".join((first["text"] or "").split())[:LISTED_CHARACTERS]
    dates = " (dates are read as 2026-03-31T18:30, ISO 8601)"
    return SidiffError(
        f"No row of {path} could be read (row {first['line']}: {first['reason']}: "
        f"{text}): correct ingestion.{table} in parameters.yml or give the right file"
        f"{dates if 'time' in first['reason'] else ''}."
    )
