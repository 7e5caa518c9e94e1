"""Lazy frames of tables in any common format.

Every row has its number and, in text formats, its parse error and its raw line. Fields
of delimited text stay texts, so that an id such as 00137 keeps its zeros.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import polars as pl

from sidiff.errors import SidiffError
from sidiff.reviews import delimited, json_text
from sidiff.reviews.streams import ROW, ROW_SCHEMA

_FORMATS = {
    **dict.fromkeys((".parquet", ".pq"), "parquet"),
    **dict.fromkeys((".csv", ".tsv", ".txt"), "delimited"),
    **dict.fromkeys((".json", ".jsonl", ".ndjson"), "json"),
}
LISTED_CHARACTERS = 1000
"""Characters of a file's content that a message shows."""


def find_format(path: Path) -> str:
    """Return ``parquet``, ``delimited`` or ``json``, from the ending of the name.

    Raises:
        SidiffError: the ending is unknown, or the path is a folder.
    """
    if path.is_dir():
        raise SidiffError(f"{path} is a folder: name the files in it.")
    name = path.name.lower()
    kind = _FORMATS.get(Path(name.removesuffix(".gz")).suffix)
    if kind is None or name.endswith((".parquet.gz", ".pq.gz")):
        raise SidiffError(
            f"{path} has no known format: give files that end in .parquet, .csv, "
            ".tsv, .txt, .json, .jsonl or .ndjson (texts also with .gz)."
        )
    return kind


def column_names(path: Path, required: Sequence[str] = ()) -> list[str]:
    """Return the names of a table's columns.

    In JSON these are the keys of all objects. With ``required`` keys, reading stops as
    soon as all of them have been found.

    Raises:
        SidiffError: the file cannot be read, or is empty.
    """
    with readable(path):
        kind = find_format(path)
        if kind == "parquet":
            return pl.scan_parquet(path, glob=False).collect_schema().names()
        if kind == "delimited":
            names = delimited.find_dialect(path).names
            if not names:
                raise SidiffError(
                    f"{path} cannot be read as a table (it is empty): give the right "
                    "file."
                )
            return list(names)
        return json_text.keys(path, required)


def check_columns(
    path: Path, names: Sequence[str], required: Sequence[str], table: str
) -> None:
    """Check that the columns ``names`` of a file include all ``required`` ones.

    Raises:
        SidiffError: one is missing.
    """
    if not names:
        raise SidiffError(
            f"{path} has no objects with named fields: give one object for each row "
            f"of {table}."
        )
    for name in required:
        if name not in names:
            # A damaged header may be anything of any length.
            listed = " ".join(", ".join(names).split())[:LISTED_CHARACTERS]
            raise SidiffError(
                f"{path} has no column {name}, it has {listed}: correct "
                f"ingestion.{table} in parameters.yml."
            )


def scan(path: Path, ids: Sequence[str], others: Sequence[str]) -> pl.LazyFrame:
    """Scan the rows of a table lazily; ``ids`` are the columns that hold ids.

    Returns:
        ``ROW`` (i64), ``FAULT`` (str), ``LINE`` (str) and the columns, which are texts
        except in Parquet. Blank lines are left out.
    """
    kind = find_format(path)
    columns = dict.fromkeys([*ids, *others])
    if kind == "delimited":
        rows = delimited.scan(path)
    elif kind == "parquet":
        rows = pl.scan_parquet(path, glob=False, row_index_name=ROW, row_index_offset=1)
    else:
        rows = json_text.scan(path, ids, others)
    present = rows.collect_schema()
    marks = [
        pl.col(name).cast(dtype) if name in present else pl.lit(None, dtype).alias(name)
        for name, dtype in ROW_SCHEMA.items()
    ]
    return rows.select(*marks, *columns)


def other_order(path: Path, row: int) -> SidiffError:
    """The error for a second header, whose columns are in another order."""
    return SidiffError(
        f"{path} has its header once more, with the columns in another order (row "
        f"{row}): split the file there and give both parts."
    )


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Turn an error of Polars into one sentence that names the file.

    Raises:
        SidiffError: instead of such an error.
    """
    try:
        yield
    except (pl.exceptions.PolarsError, OSError, pl.exceptions.PanicException) as error:
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise SidiffError(
            f"{path} cannot be read as a table ({reason}): repair it or give the right "
            "file."
        ) from error
