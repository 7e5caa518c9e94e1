"""Lazy frames over blocks of rows, of which one is in memory at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache, wraps
from pathlib import Path
from typing import TypeVar

import polars as pl
from polars.io.plugins import register_io_source

ROW = "row number"
"""Row number from 1; the header of delimited text is not counted, blank lines are."""
FAULT = "parse error"
"""Reason why a row cannot be parsed; null for a good row."""
LINE = "raw line"
"""Raw line of a row; null if it was not kept."""
ROW_SCHEMA = {ROW: pl.Int64(), FAULT: pl.String(), LINE: pl.String()}

T = TypeVar("T")


def remembered(find: Callable[[Path], T]) -> Callable[[Path], T]:
    """Cache a function of a file until the size or the time of the file changes."""

    @lru_cache(maxsize=1024)
    def found(state: object, path: Path) -> T:
        return find(path)

    @wraps(find)
    def cached(path: Path) -> T:
        try:
            state = path.stat()
        except OSError:
            return find(path)
        return found((state.st_size, state.st_mtime_ns), path)

    return cached


def lazy(
    frames: Callable[[], Iterator[pl.DataFrame]], schema: pl.Schema
) -> pl.LazyFrame:
    """Make a lazy frame over blocks; every collection calls ``frames`` again."""

    def read(
        with_columns: list[str] | None,
        predicate: pl.Expr | None,
        n_rows: int | None,
        batch_size: int | None,
    ) -> Iterator[pl.DataFrame]:
        del batch_size
        left = n_rows
        for frame in frames():
            kept = frame if left is None else frame.head(left)
            left = None if left is None else left - len(kept)
            kept = kept if predicate is None else kept.filter(predicate)
            yield kept if with_columns is None else kept.select(with_columns)
            if left == 0:
                return

    return register_io_source(read, schema=schema)
