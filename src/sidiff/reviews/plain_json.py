"""JSON lines that are as plain as programs write them, read by Polars.

Polars is several times faster than Python, but guesses where JSON and a table differ.
So a file is certified in one pass: every line is one object by a strict grammar, with
no number that a float would bend and no deep values, and the wanted keys stand in it
once at most, with texts, whole numbers or null. Any other file is ``json_text``'s.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import polars as pl

from sidiff.reviews.encodings import UTF8, find_form
from sidiff.reviews.streams import LINE, ROW, all_lines, remembered

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


@remembered
def is_plain(path: Path, ids: tuple[str, ...], others: tuple[str, ...]) -> bool:
    """Test that ``scan`` reads the file as ``json_text.scan`` does.

    The values of ``ids`` are to be ids, ``others`` may be numbers with fractions, too.

    Raises:
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        # Neither a byte order mark nor packed.
        if file.read(1) != b"{" or find_form(path) != UTF8:
            return False
    line = pl.col(LINE)
    plain = [line.str.contains(_LINE)]
    for name in (*ids, *others):
        number = _WHOLE if name in ids else _NUMBER
        key = rf'"{re.escape(name)}"{_BLANK}:'
        good = rf"{key}{_BLANK}(?:{_TEXT}|{number}|null){_BLANK}[,}}]"
        plain.append(line.str.count_matches(key) == line.str.count_matches(good))
        plain.append(line.str.count_matches(key) <= 1)
    return all_lines(path, 0, pl.all_horizontal(plain).fill_null(value=False))


def scan(path: Path, names: Sequence[str]) -> pl.LazyFrame:
    """The rows of a certified file, not read yet.

    Returns:
        ``ROW``, and the values of the keys ``names`` (str).
    """
    return pl.scan_ndjson(
        path,
        schema=dict.fromkeys(names, pl.String()),
        row_index_name=ROW,
        row_index_offset=1,
    )
