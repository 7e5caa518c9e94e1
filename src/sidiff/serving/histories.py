"""Histories of any number of users, in parts that fit the memory.

One streaming pass over the table writes its rows to parts on the disk, by a hash of the
user. All rows of a user are in one part, and one part is in memory at a time.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import polars as pl

from sidiff.errors import SidiffError
from sidiff.reviews.own_data import ingest_interactions
from sidiff.reviews.settings import InteractionColumns
from sidiff.reviews.streams import FAULT, LINE
from sidiff.reviews.tables import column_names, find_format, readable, scan

logger = logging.getLogger(__name__)

LISTED = "items"
"""Column of a table with one row per user: the item ids, oldest first."""
_PART, _ORDER = "part", "order"
_ID = r'(?:"(?:[^"\\]|\\.)*"|-?\d+(?:\.\d+)?|null)'
_JSON_LIST = rf"^\[\s*(?:{_ID}\s*(?:,\s*{_ID}\s*)*)?\]$"


@dataclass(frozen=True)
class HistoryRows:
    """Histories of users, one item per row.

    Attributes:
        rows: user_id, item_id (null in the only row of a user without items),
            timestamp, microsecond, in the order of the file.
        timed: whether timestamp is in seconds and not only an order.
        set_aside: number of unusable rows of the file.
    """

    rows: pl.LazyFrame
    timed: bool = True
    set_aside: int = 0


def own_histories(path: Path, columns: InteractionColumns) -> HistoryRows:
    """Read a user's own table, of any size: Parquet, CSV or JSON lines.

    It has a row per interaction with ``columns``, or a row per user with the column of
    the user and ``items``: a list of ids, or a text with ids between spaces or as a
    JSON list.

    Raises:
        SidiffError: the file cannot be read, or has neither form.
    """
    names = column_names(path)
    if LISTED not in names:
        read = ingest_interactions([path], columns, int(time.time()))
        return HistoryRows(read.frame.lazy(), set_aside=read.set_aside)
    if columns.user not in names:
        raise SidiffError(
            f"{path} has a column {LISTED} and no column {columns.user}; name the "
            "users' column in ingestion.interactions.user."
        )
    with readable(path):
        rows = scan(path, [columns.user], [LISTED])
        ids, fine = _listed(path, rows.collect_schema()[LISTED])
        usable = pl.col(FAULT).is_null() & pl.col(columns.user).is_not_null() & fine
        set_aside = rows.select((~usable).sum()).collect(engine="streaming").item()
    if set_aside:
        logger.warning(
            "Histories skipped, without a user or with items that are no list of "
            "ids: %s",
            f"{set_aside:,}",
        )
    return HistoryRows(
        rows.filter(usable)
        .select(
            pl.col(columns.user).cast(pl.String).alias("user_id"),
            ids.cast(pl.List(pl.String)).alias("item_id"),
        )
        .explode("item_id", empty_as_null=True)
        .with_row_index("timestamp")
        .with_columns(microsecond=pl.lit(0)),
        timed=False,
        set_aside=set_aside,
    )


def _listed(path: Path, dtype: pl.DataType) -> tuple[pl.Expr, pl.Expr]:
    """The ids in each row of ``LISTED``, and whether the row is a list of ids."""
    ids = pl.col(LISTED)
    if isinstance(dtype, pl.Array):
        ids, dtype = ids.arr.to_list(), pl.List(dtype.inner)
    inner = dtype.inner if isinstance(dtype, pl.List) else dtype
    if inner.is_nested():
        raise SidiffError(
            f"{path}: the column {LISTED} holds {dtype}; give lists of item ids, or "
            "texts with ids between spaces."
        )
    if isinstance(dtype, pl.List):
        return ids, pl.lit(value=True)
    text = ids.cast(pl.String)
    if find_format(path) == "json":  # its lists are read from the text of the line
        text = pl.coalesce(pl.col(LINE).str.json_path_match(f"$.{LISTED}"), text)
    text = text.str.strip_chars()
    bracketed = text.str.starts_with("[").fill_null(value=False)
    is_list = text.str.contains(_JSON_LIST).fill_null(value=False)
    decoded = pl.when(is_list).then(text).str.json_decode(pl.List(pl.String))
    words = pl.when(~bracketed).then(text.str.extract_all(r"\S+"))
    return decoded.fill_null(words), is_list | ~bracketed


class Parts:
    """The users of ``HistoryRows``, part by part."""

    def __init__(
        self,
        histories: HistoryRows,
        folder: Path,
        users_per_part: int,
        ties: Literal["item_id", "file_order"],
        merge_seconds: int | None,
    ) -> None:
        """Write the rows to parts.

        Args:
            histories: of all users.
            folder: an empty local folder, with room for all rows.
            users_per_part: approximate; bounds memory.
            ties: order of interactions of equal time.
            merge_seconds: interactions of the same user and item at most so many
                seconds apart are one event; None keeps all.

        Raises:
            SidiffError: there is no user.
        """
        self._folder, self._ties = folder, ties
        self._merge_seconds = merge_seconds if histories.timed else None
        rows = histories.rows.select("user_id", "item_id", "timestamp", "microsecond")
        counted = rows.select(pl.col("user_id").approx_n_unique())
        self.users = int(counted.collect(engine="streaming").item())
        if not self.users:
            raise SidiffError(
                "There is no user to recommend to; give a table of histories, or run "
                "kedro run --pipeline=ingestion."
            )
        self.count = -(-self.users // users_per_part)
        part = (pl.col("user_id").hash(0) % self.count).alias(_PART)
        rows.with_row_index(_ORDER).with_columns(part).sink_parquet(
            pl.PartitionBy(folder, key=_PART, include_key=False),
            mkdir=True,
            maintain_order=True,
        )

    def __iter__(self) -> Iterator[tuple[int, pl.DataFrame]]:
        """Yield every part's number and users: user_id, items (ids, oldest first)."""
        for number in range(self.count):
            files = sorted((self._folder / f"{_PART}={number}").glob("*.parquet"))
            if files:
                yield number, self._users(files)

    def _users(self, files: list[Path]) -> pl.DataFrame:
        keys = ["user_id", "timestamp", "microsecond", _ORDER]
        if self._ties == "item_id":
            keys.insert(3, "item_id")
        rows = pl.read_parquet(files, glob=False).sort(keys)
        if self._merge_seconds is not None:
            before = pl.col("timestamp").shift(1).over("user_id", "item_id")
            gap = pl.col("timestamp") - before
            rows = rows.filter(gap.is_null() | (gap > self._merge_seconds))
        return rows.group_by("user_id", maintain_order=True).agg(
            items=pl.col("item_id").drop_nulls()
        )
