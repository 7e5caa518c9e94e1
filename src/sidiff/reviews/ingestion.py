"""Amazon's review and metadata files to typed frames, line by line.

A line that cannot be parsed, or lacks an id, is set aside with its number and the
reason. ``check_rejected`` stops if there are too many of them.
"""

from __future__ import annotations

import logging
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import polars as pl

from sidiff.errors import SidiffError
from sidiff.reviews.layouts import (
    LAYOUTS,
    ItemLayout,
    MalformedLineError,
    ReviewLayout,
    looks_like,
)
from sidiff.reviews.lines import numbered_lines, parse_line

logger = logging.getLogger(__name__)

KEPT_TEXT = 200
"""Characters kept of the text of a row set aside."""
# Rows are converted to frames in blocks: a frame is far smaller than Python objects.
_ROWS_PER_BLOCK = 2**16
# Lines whose keys are examined to recognise a wrong layout.
_LINES_TO_RECOGNISE = 1000

INTERACTIONS = pl.Schema(
    {
        "user_id": pl.String(),
        "item_id": pl.String(),
        "timestamp": pl.Int64(),
        "microsecond": pl.Int32(),
        "rating": pl.Float32(),
    }
)
ITEMS = pl.Schema(
    {
        "item_id": pl.String(),
        "title": pl.String(),
        "brand": pl.String(),
        "categories": pl.List(pl.String()),
        "price": pl.Float64(),
        "features": pl.List(pl.String()),
        "description": pl.String(),
    }
)
REJECTED = pl.Schema(
    {
        "file": pl.String(),
        "line": pl.Int64(),
        "reason": pl.String(),
        "text": pl.String(),
    }
)


_COUNTS = ("lines", "rows", "set_aside", "duplicates")


@dataclass(frozen=True)
class Ingested:
    """The typed rows of raw files.

    Attributes:
        frame: the typed rows, in file order.
        rejected: the lines set aside: ``file`` (name), ``line`` (from 1), ``reason``,
            ``text`` (its beginning); of an interactions table the first 100,000.
        lines: lines in the files, blank ones not counted.
        rows: rows in ``frame``.
        set_aside: all lines set aside.
        duplicates: rows dropped because an earlier row has the same item id. ``lines``
            is the sum of ``rows``, ``set_aside`` and ``duplicates``.
        notes: further entries of the report, by name.
    """

    frame: pl.LazyFrame
    rejected: pl.DataFrame
    lines: int
    rows: int
    set_aside: int
    duplicates: int = 0
    notes: dict[str, Any] = field(default_factory=dict)


def ingest_reviews(path: Path, layout: str) -> Ingested:
    """Read a file of reviews, gz or plain.

    Returns:
        ``frame`` has ``user_id``, ``item_id`` (str), ``timestamp`` (i64, seconds since
        1970 UTC), ``microsecond`` (i32, of that second) and ``rating`` (f32,
        nullable).

    Raises:
        SidiffError: the file is missing, empty, damaged, or of another layout.
    """
    return _ingest(path, LAYOUTS[layout].reviews, INTERACTIONS)


def ingest_items(path: Path, layout: str) -> Ingested:
    """Read a file of item metadata, gz or plain; an item's first line counts.

    Returns:
        ``frame`` has ``item_id``, ``title``, ``brand`` (str), ``categories`` (list of
        str, paths flattened), ``price`` (f64, in the shop's currency), ``features``
        (list of str) and ``description`` (str); all but the id nullable.

    Raises:
        SidiffError: the file is missing, empty, damaged, or of another layout.
    """
    return first_of_each_item([_ingest(path, LAYOUTS[layout].items, ITEMS)])


def join(parts: Sequence[Ingested]) -> Ingested:
    """Join the files of one log, in their order."""
    return Ingested(
        frame=pl.concat([part.frame for part in parts], how="diagonal"),
        rejected=pl.concat([part.rejected for part in parts]),
        **{name: sum(getattr(part, name) for part in parts) for name in _COUNTS},
    )


def first_of_each_item(parts: Sequence[Ingested]) -> Ingested:
    """Join the files of one catalogue and keep the first row of every item."""
    read = join(parts)
    items = read.frame.unique("item_id", keep="first", maintain_order=True).collect()
    duplicates = read.duplicates + read.rows - len(items)
    return replace(read, frame=items.lazy(), rows=len(items), duplicates=duplicates)


def check_rejected(
    rejected: pl.DataFrame, set_aside: int, lines: int, max_share: float
) -> None:
    """Check that at most a share of all lines, 0 to 1, is set aside.

    Raises:
        SidiffError: names the count, the share, and the first such line.
    """
    if set_aside > max_share * lines:
        first = rejected.row(0, named=True)
        raise SidiffError(
            f"{first['file']}: {set_aside:,} of {lines:,} lines are malformed "
            f"({set_aside / lines:.2%}, allowed {max_share:.2%}; first line "
            f"{first['line']}: {first['reason']}): repair the file or raise "
            "ingestion.max_rejected_share."
        )


def _ingest(
    path: Path, layout: ReviewLayout | ItemLayout, schema: pl.Schema
) -> Ingested:
    blocks: list[pl.DataFrame] = []
    rows: list[tuple[Any, ...]] = []
    rejected: list[tuple[str, int, str, str]] = []
    kinds: Counter[str] = Counter()
    lines = 0
    # Parsing a literal warns about invalid escapes on the console.
    with warnings.catch_warnings(action="ignore"):
        for number, raw in numbered_lines(path):
            lines += 1
            try:
                line = parse_line(raw)
                if lines <= _LINES_TO_RECOGNISE:
                    kinds[looks_like(line)] += 1
                rows.append(layout.read(line))
            except MalformedLineError as error:
                # A character has at most four bytes.
                text = raw[: 4 * KEPT_TEXT].decode("utf-8", errors="replace")
                rejected.append((path.name, number, str(error), text[:KEPT_TEXT]))
            if len(rows) == _ROWS_PER_BLOCK:
                blocks.append(pl.DataFrame(rows, schema=schema, orient="row"))
                rows.clear()
    blocks.append(pl.DataFrame(rows, schema=schema, orient="row"))
    frame = pl.concat(blocks)
    part = Ingested(
        frame=frame.lazy(),
        rejected=pl.DataFrame(rejected, schema=REJECTED, orient="row"),
        lines=lines,
        rows=len(frame),
        set_aside=len(rejected),
    )
    _check_kind(path, layout.looks, kinds, part)
    if rejected:
        logger.warning("%s: lines set aside: %s", path.name, f"{len(rejected):,}")
    return part


def _check_kind(path: Path, looks: str, kinds: Counter[str], part: Ingested) -> None:
    """Check that a file has the given layout and at least one good line."""
    if not part.lines:
        raise SidiffError(f"{path} is empty: give a file of {looks}.")
    if kinds and not kinds[looks]:
        likely = kinds.most_common(1)[0][0]
        raise SidiffError(
            f"{path} was given as {looks} but looks like {likely}: set "
            "ingestion.layout accordingly or give the right file."
        )
    if not part.rows:
        first = part.rejected.row(0, named=True)
        raise SidiffError(
            f"No line of {path} could be read as {looks} (line {first['line']}: "
            f"{first['reason']}): give the right file."
        )
