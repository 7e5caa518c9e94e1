"""Tables of any common format as lazy frames.

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
from sidiff.reviews.streams import ACCOUNT, ROW

_FORMATS = {
    **dict.fromkeys((".parquet", ".pq"), "parquet"),
    **dict.fromkeys((".csv", ".tsv", ".txt"), "delimited"),
    **dict.fromkeys((".json", ".jsonl", ".ndjson"), "json"),
}
LISTED_CHARACTERS = 1000
"""Characters of a file's content that a message shows."""


def find_format(path: Path) -> str:
    """Return ``parquet``, ``delimited`` or ``json``, by the file's name.

    Raises:
        SidiffError: the name ends in nothing known.
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


def column_names(path: Path, wanted: Sequence[str] = ()) -> list[str]:
    """Return the names of a table's columns.

    Of JSON, whose objects need not all have the same keys, those of all objects, or of
    the first ones that have all ``wanted`` keys.

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
        return json_text.keys(path, wanted)


def check_columns(
    path: Path, names: Sequence[str], wanted: Sequence[str], table: str
) -> None:
    """Check that a file's columns ``names`` include all ``wanted`` ones.

    Raises:
        SidiffError: one is missing.
    """
    if not names:
        raise SidiffError(
            f"{path} has no objects with named fields: give one object for each row "
            f"of {table}."
        )
    for name in wanted:
        if name not in names:
            # A damaged header may be anything of any length.
            there = " ".join(", ".join(names).split())[:LISTED_CHARACTERS]
            raise SidiffError(
                f"{path} has no column {name}, it has {there}: correct "
                f"ingestion.{table} in parameters.yml."
            )


def scan(path: Path, ids: Sequence[str], others: Sequence[str]) -> pl.LazyFrame:
    """The rows of a table, not read yet; ``ids`` are the columns that hold ids.

    Returns:
        ``ROW`` (i64), ``FAULT`` (str), ``LINE`` (str) and the columns: of Parquet with
        their types, else texts. Blank lines are left out.
    """
    kind = find_format(path)
    wanted = dict.fromkeys([*ids, *others])
    if kind == "delimited":
        rows = delimited.scan(path)
    elif kind == "parquet":
        rows = pl.scan_parquet(path, glob=False, row_index_name=ROW, row_index_offset=1)
    else:
        rows = json_text.scan(path, ids, others)
    there = rows.collect_schema()
    account = [
        pl.col(name).cast(dtype) if name in there else pl.lit(None, dtype).alias(name)
        for name, dtype in ACCOUNT.items()
    ]
    return rows.select(*account, *wanted)


def header_of(path: Path) -> dict[str, str]:
    """Each column's name as the header spells it; empty unless delimited text."""
    if find_format(path) != "delimited":
        return {}
    dialect = delimited.find_dialect(path)
    return dict(zip(dialect.names, dialect.header, strict=True))


def spelling(name: str) -> str:
    """A column's name without quotes, blanks and case, to compare headers."""
    return name.strip(' \t"\ufeff').casefold()


def lines_of(path: Path, rows: pl.Series) -> pl.DataFrame | None:
    """``ROW`` and ``LINE`` of rows that were scanned without ``LINE``; None of Parquet.

    ``rows`` are numbered as in ``ROW``.
    """
    if find_format(path) == "parquet":
        return None
    found = delimited.raw_lines(path).filter(pl.col(ROW).is_in(rows.implode()))
    return found.collect(engine="streaming")


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Turn errors of Polars into a sentence that names the file.

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
