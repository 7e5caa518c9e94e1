"""Tables of any common format, scanned: nothing is read before it is asked for.

Every row keeps its number and, where the format can have rows that are none, what is
wrong with it. CSV columns stay texts, so that an id such as 00137 stays what it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

import polars as pl

from sidiff.errors import SidiffError
from sidiff.reviews.layouts import MalformedLineError
from sidiff.reviews.lines import numbered_lines, parse_line

ROW = "number of the row"
"""From 1; of CSV the header is not counted, of JSON lines every line is."""
FAULT = "why the row is none"
"""Null for a good row."""

_LINE = "the line"
_SURPLUS = "fields beyond the header"
_SEPARATORS = ",\t;|"
# No byte of a well-formed JSON line, so each line is one field.
_NEVER = "\x01"
# JSON lines need not all have the same keys; those of the first ones are looked at.
_LINES_TO_LOOK_AT = 1000
_FORMATS = {
    ".parquet": "parquet",
    ".pq": "parquet",
    ".csv": "csv",
    ".tsv": "csv",
    ".txt": "csv",
    ".json": "ndjson",
    ".jsonl": "ndjson",
    ".ndjson": "ndjson",
}


def find_format(path: Path) -> str:
    """Return ``parquet``, ``csv`` or ``ndjson``, told by the file's name.

    Raises:
        SidiffError: the name ends in nothing known.
    """
    name = path.name.lower()
    kind = _FORMATS.get(Path(name.removesuffix(".gz")).suffix)
    if kind is None or (kind == "parquet" and name.endswith(".gz")):
        raise SidiffError(
            f"{path} has no known format: give files that end in .parquet, .csv, "
            ".tsv, .txt, .json, .jsonl or .ndjson (texts also with .gz)."
        )
    return kind


def column_names(path: Path) -> list[str]:
    """Return the names of a table's columns; of JSON lines those of the first 1000.

    Raises:
        SidiffError: the file cannot be read, or is empty.
    """
    with readable(path):
        kind = find_format(path)
        if kind == "parquet":
            return pl.scan_parquet(path, glob=False).collect_schema().names()
        if kind == "csv":
            return _header(path, _separator(path))
        return _keys(path)


def scan(path: Path, columns: Sequence[str]) -> pl.LazyFrame:
    """Name the rows of a table.

    Args:
        path: the file.
        columns: names of the columns that are wanted, each in ``column_names``.

    Returns:
        ``ROW`` (i64), ``FAULT`` (str) and the columns: of Parquet with the types they
        have, else texts. Blank lines are left out.
    """
    kind = find_format(path)
    if kind == "parquet":
        rows = pl.scan_parquet(path, glob=False, row_index_name=ROW, row_index_offset=1)
        rows = rows.with_columns(pl.lit(None, pl.String).alias(FAULT))
    elif kind == "csv":
        rows = _scan_csv(path)
    else:
        rows = _scan_lines(path, columns)
    return rows.select(pl.col(ROW).cast(pl.Int64), FAULT, *dict.fromkeys(columns))


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Turn what Polars says of a damaged file into a sentence that names the file.

    Raises:
        SidiffError: in the place of such an error.
    """
    try:
        yield
    except (pl.exceptions.PolarsError, OSError, pl.exceptions.PanicException) as error:
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise SidiffError(
            f"{path} cannot be read as a table ({reason}): repair it or give the right "
            "file."
        ) from error


def _scan_csv(path: Path) -> pl.LazyFrame:
    separator = _separator(path)
    names = _header(path, separator)
    # One column more than the header has: what a row with too many fields puts there
    # tells it from the others.
    rows = pl.scan_csv(
        path,
        glob=False,
        separator=separator,
        has_header=False,
        skip_rows=1,
        schema=dict.fromkeys([*names, _SURPLUS], pl.String),
        missing_columns="insert",
        truncate_ragged_lines=True,
        encoding="utf8-lossy",
        row_index_name=ROW,
        row_index_offset=1,
    )
    surplus = pl.col(_SURPLUS).is_not_null()
    fault = pl.when(surplus).then(pl.lit(f"more than {len(names)} fields"))
    blank = pl.all_horizontal(pl.col(*names, _SURPLUS).is_null())
    return rows.filter(~blank).with_columns(fault.alias(FAULT))


def _scan_lines(path: Path, columns: Sequence[str]) -> pl.LazyFrame:
    rows = pl.scan_csv(
        path,
        glob=False,
        separator=_NEVER,
        quote_char=None,
        has_header=False,
        schema={_LINE: pl.String, _SURPLUS: pl.String},
        missing_columns="insert",
        truncate_ragged_lines=True,
        encoding="utf8-lossy",
        row_index_name=ROW,
        row_index_offset=1,
    )
    line, surplus = pl.col(_LINE).str.strip_chars(), pl.col(_SURPLUS).is_not_null()
    fault = (
        pl.when(surplus | line.str.json_path_match("$").is_null())
        .then(pl.lit("not JSON"))
        .when(~line.str.starts_with("{"))
        .then(pl.lit("not an object with named fields"))
    )
    blank = (line.fill_null("") == "") & ~surplus
    return rows.filter(~blank).with_columns(
        fault.alias(FAULT),
        *(line.str.json_path_match(_json_path(name)).alias(name) for name in columns),
    )


def _json_path(key: str) -> str:
    if "\\" in key:
        raise SidiffError(f"The column name {key} has a backslash: rename the column.")
    quoted = key.replace("'", "\\'")
    return f"$['{quoted}']"


def _separator(path: Path) -> str:
    """The likeliest separator: the one that the header has most of, else a comma."""
    _, first = next(numbered_lines(path), (0, b""))
    header = first.decode("utf-8", errors="replace")
    return max(_SEPARATORS, key=header.count)


def _header(path: Path, separator: str) -> list[str]:
    rows = pl.scan_csv(
        path,
        glob=False,
        separator=separator,
        infer_schema=False,
        n_rows=0,
        encoding="utf8-lossy",
        truncate_ragged_lines=True,
    )
    return rows.collect_schema().names()


def _keys(path: Path) -> list[str]:
    keys: dict[str, None] = {}
    for _, line in islice(numbered_lines(path), _LINES_TO_LOOK_AT):
        try:
            keys.update(dict.fromkeys(parse_line(line)))
        except MalformedLineError:
            continue
    return [key for key in keys if isinstance(key, str)]
