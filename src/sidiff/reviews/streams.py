"""Frames that Python makes, block by block, as a lazy frame: never all in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import polars as pl
from polars.io.plugins import register_io_source


def lazy(
    frames: Callable[[], Iterator[pl.DataFrame]], schema: pl.Schema
) -> pl.LazyFrame:
    """A lazy frame over blocks; ``frames`` is called anew whenever it is read."""

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
