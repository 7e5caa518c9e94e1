"""Lazy frames over what Python makes in blocks, and over lines: never all in memory."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from pathlib import Path

import polars as pl
from polars.io.plugins import register_io_source

# No letter of a plain file, so each line is one field.
_NEVER = "\x02"


def lines(path: Path, row: str, line: str, skip: int) -> pl.LazyFrame:
    """The lines of a text without control characters, numbered (i64, from 1).

    ``row`` and ``line`` name the columns; the first ``skip`` lines are left out.
    """
    return pl.scan_csv(
        path,
        glob=False,
        separator=_NEVER,
        quote_char=None,
        has_header=False,
        skip_rows=skip,
        schema={line: pl.String()},
        row_index_name=row,
        row_index_offset=1,
    ).with_columns(pl.col(row).cast(pl.Int64))


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
