"""Lazy frames over what Python makes in blocks, and over lines: never all in memory."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from functools import lru_cache, wraps
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

import polars as pl
from polars.io.plugins import register_io_source

ROW = "number of the row"
"""From 1; of delimited text the header is not counted, of JSON lines every line is."""
FAULT = "why the row is none"
"""Null for a good row."""
LINE = "the row as it stands in the file"
"""Null where it is not at hand."""
ACCOUNT = {ROW: pl.Int64(), FAULT: pl.String(), LINE: pl.String()}

# No letter of a plain file, so each line is one field.
_NEVER = "\x02"

P = ParamSpec("P")
T = TypeVar("T")


def remembered(
    tell: Callable[Concatenate[Path, P], T],
) -> Callable[Concatenate[Path, P], T]:
    """A function of a file that is asked for more than once, run once a state of it."""

    @lru_cache(maxsize=1024)
    def told(state: object, path: Path, *args: P.args, **kwargs: P.kwargs) -> T:
        return tell(path, *args, **kwargs)

    @wraps(tell)
    def ask(path: Path, /, *args: P.args, **kwargs: P.kwargs) -> T:
        try:
            found = path.stat()
        except OSError:
            return tell(path, *args, **kwargs)
        state = found.st_size, found.st_mtime_ns
        return told(state, path, *args, **kwargs)  # type: ignore[arg-type]

    return ask


def lines(path: Path, skip: int) -> pl.LazyFrame:
    """The lines of a text without control characters behind the first ``skip``.

    Returns:
        ``ROW`` and ``LINE``.
    """
    return pl.scan_csv(
        path,
        glob=False,
        separator=_NEVER,
        quote_char=None,
        has_header=False,
        skip_rows=skip,
        schema={LINE: pl.String()},
        row_index_name=ROW,
        row_index_offset=1,
    ).with_columns(pl.col(ROW).cast(pl.Int64))


def all_lines(path: Path, skip: int, test: pl.Expr) -> bool:
    """Test that ``test`` is true of all ``lines``; False where Polars cannot read."""
    try:
        found = lines(path, skip).select(test.all()).collect(engine="streaming")
    except pl.exceptions.PolarsError:
        return False
    return bool(found.item())


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
