"""Frames that Python makes, block by block, as a lazy frame: never all in memory."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator

import polars as pl
from polars.io.plugins import register_io_source


def lazy(
    frames: Callable[[Collection[str]], Iterator[pl.DataFrame]], schema: pl.Schema
) -> pl.LazyFrame:
    """A lazy frame over blocks.

    Args:
        frames: called anew whenever the frame is read, with the names of the columns
            that are asked for; may give more.
        schema: of all columns.
    """

    def read(
        with_columns: list[str] | None,
        predicate: pl.Expr | None,
        n_rows: int | None,
        batch_size: int | None,
    ) -> Iterator[pl.DataFrame]:
        del batch_size
        left = n_rows
        wanted = list(schema) if with_columns is None else with_columns
        if predicate is not None:
            wanted = [*wanted, *predicate.meta.root_names()]
        for frame in frames(wanted):
            kept = frame if left is None else frame.head(left)
            left = None if left is None else left - len(kept)
            kept = kept if predicate is None else kept.filter(predicate)
            yield kept if with_columns is None else kept.select(with_columns)
            if left == 0:
                return

    return register_io_source(read, schema=schema)
