"""JSON lines that are as plain as programs write them, read by Polars.

Polars is several times faster than Python, but guesses where JSON and a table differ.
So a file is certified in one pass: every line is one object by a strict grammar, with
no number that a float would bend and no deep values, and the wanted keys stand in it
once at most, with texts, whole numbers or null. Any other file is ``json_text``'s.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import polars as pl

from sidiff.reviews.encodings import UTF8, find_form
from sidiff.reviews.streams import lines

_BLANK = r"[ \t\r]*"
_ESCAPE = (
    r'\\(?:["\\/bfnrt]|u(?:[0-9a-cefA-CEF][0-9a-fA-F]{3}|[dD][0-7][0-9a-fA-F]{2}'
    r"|[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}))"
)
_TEXT = rf'"(?:[^"\\\x00-\x1f]|{_ESCAPE})*"'
_KEY = r'"[^"\\\x00-\x1f]*"'
# Fewer digits than a float has.
_WHOLE = r"(?:0|-?[1-9][0-9]{0,14})"
_NUMBER = r"-?(?:0|[1-9][0-9]{0,14})(?:\.[0-9]{1,17})?"
_SCALAR = rf"(?:{_TEXT}|{_NUMBER}|null|true|false)"


def _several(begin: str, part: str, end: str) -> str:
    more = rf"(?:{_BLANK},{_BLANK}{part})*"
    return rf"{begin}{_BLANK}(?:{part}{more}{_BLANK})?{end}"


def _object(value: str) -> str:
    return _several(r"\{", rf"{_KEY}{_BLANK}:{_BLANK}{value}", r"\}")


_LIST = _several(r"\[", _SCALAR, r"\]")
_VALUE = rf"(?:{_SCALAR}|{_LIST}|{_object(_SCALAR)})"
_LINE = rf"^{_object(_VALUE)}{_BLANK}$"


def is_plain(path: Path, ids: Sequence[str], others: Sequence[str]) -> bool:
    """Test that ``scan`` reads the file as ``json_text.scan`` does.

    Args:
        path: the file.
        ids: keys whose values are to be ids.
        others: further wanted keys, which may be numbers with fractions, too.

    Raises:
        OSError: the file cannot be read.
    """
    state = path.stat()
    return _is_plain(path, tuple(ids), tuple(others), state.st_size, state.st_mtime_ns)


@lru_cache(maxsize=1024)
def _is_plain(
    path: Path, ids: tuple[str, ...], others: tuple[str, ...], size: int, changed: int
) -> bool:
    """Of a file in one state: it is asked for more than once."""
    del size, changed
    with path.open("rb") as file:
        # Neither a byte order mark nor packed.
        if file.read(1) != b"{" or find_form(path) != UTF8:
            return False
    line = pl.col("line")
    plain = [line.str.contains(_LINE)]
    for names, number in ((ids, _WHOLE), (others, _NUMBER)):
        for name in names:
            key = rf'"{re.escape(name)}"{_BLANK}:'
            good = rf"{key}{_BLANK}(?:{_TEXT}|{number}|null){_BLANK}[,}}]"
            plain.append(line.str.count_matches(key) == line.str.count_matches(good))
            plain.append(line.str.count_matches(key) <= 1)
    try:
        return bool(
            lines(path, "number", "line", skip=0)
            .select(pl.all_horizontal(plain).fill_null(value=False).all())
            .collect(engine="streaming")
            .item()
        )
    except pl.exceptions.PolarsError:
        return False


def scan(path: Path, names: Sequence[str], row: str) -> pl.LazyFrame:
    """The rows of a certified file, not read yet.

    Returns:
        ``row`` (i64, from 1), and the values of the keys ``names`` (str).
    """
    return pl.scan_ndjson(
        path,
        schema=dict.fromkeys(names, pl.String()),
        row_index_name=row,
        row_index_offset=1,
    ).with_columns(pl.col(row).cast(pl.Int64))
