"""JSON text: objects one a line, several a line, over many lines, or in an array.

A text that begins with an array, or with an object that does not end in its line, is a
document, of which every object is a row, and is held in memory. Any other is read line
by line. NaN and Infinity are read; numbers keep all their digits.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import polars as pl

from sidiff.errors import SidiffError
from sidiff.reviews.encodings import find_form, read_text
from sidiff.reviews.lines import numbered_lines
from sidiff.reviews.streams import ACCOUNT, lazy
from sidiff.reviews.values import id_text, plain_text

ROWS_PER_BLOCK = 2**12
_CHUNK = 2**20
_DECODER = json.JSONDecoder()

Object = tuple[int, str, dict[str, Any] | str]
"""Number of its line (of a document: of the object), its text, it or its fault."""


def objects(path: Path) -> Iterator[list[Object]]:
    """Yield the objects of a file, and lines that are none, in blocks.

    Raises:
        SidiffError: the file is missing, damaged, or cannot be read.
    """
    form = find_form(path)
    if _is_document(read_text(path, form, _CHUNK)):
        found = _of_document(path, read_text(path, form))
    else:
        lines = numbered_lines(path, form)
        found = (one for number, raw in lines for one in _of_line(number, raw))
    while block := list(islice(found, ROWS_PER_BLOCK)):
        yield block


def keys(path: Path, wanted: Sequence[str] = ()) -> list[str]:
    """Return the keys of all objects, or of the first that have all ``wanted`` ones.

    Raises:
        SidiffError: as ``objects``.
    """
    found: dict[str, None] = {}
    for block in objects(path):
        for _, _, value in block:
            if isinstance(value, dict):
                found.update(dict.fromkeys(value))
        if wanted and found.keys() >= set(wanted):
            break
    return list(found)


def scan(path: Path, ids: Sequence[str], others: Sequence[str]) -> pl.LazyFrame:
    """The rows of a file, not read yet.

    Returns:
        ``ROW``, ``FAULT``, ``LINE`` and the values of keys (str): those of ``ids`` by
        ``values.id_text``, those of ``others`` by ``values.plain_text``.
    """
    rules = dict.fromkeys(others, plain_text) | dict.fromkeys(ids, id_text)
    schema = pl.Schema({**ACCOUNT, **dict.fromkeys(rules, pl.String())})

    def frames() -> Iterator[pl.DataFrame]:
        for block in objects(path):
            numbers, texts, values = zip(*block, strict=True)
            faults = [value if isinstance(value, str) else None for value in values]
            rows = [{} if isinstance(value, str) else value for value in values]
            columns = [
                _texts([row.get(name) for row in rows], rule)
                for name, rule in rules.items()
            ]
            yield pl.DataFrame([numbers, faults, texts, *columns], schema=schema)

    return lazy(frames, schema)


def _texts(
    values: Sequence[object], rule: Callable[[object], str | None]
) -> Sequence[str | None]:
    # Most columns are of one type, for which the rule need not look at every value.
    kinds = set(map(type, values))
    if kinds == {int}:
        return list(map(str, values))
    if kinds == {str} and all(map(str.isascii, values)):  # type: ignore[arg-type]
        return values  # type: ignore[return-value]
    return list(map(rule, values))


def _of_line(number: int, raw: bytes) -> list[Object]:
    """The objects of a line, or its fault."""
    try:
        text = raw.decode("utf-8").strip()
    except UnicodeDecodeError:
        shown = raw.decode("utf-8", errors="replace").strip()
        return [(number, shown, "not UTF-8 text")]
    found: list[Object] = []
    place = 0
    try:
        while place < len(text):
            value, end = _DECODER.raw_decode(text, place)
            found.append((number, text[place:end], _checked(value)))
            place = _skip(text, end)
    except (ValueError, RecursionError):
        return [(number, text, "not JSON")]
    return found


def _checked(value: Any) -> dict[str, Any] | str:
    return value if isinstance(value, dict) else "not an object with named fields"


def _skip(text: str, place: int, between: str = " \t\r\n,") -> int:
    while place < len(text) and text[place] in between:
        place += 1
    return place


def _is_document(text: str) -> bool:
    """Test that a text begins with an array, or with an object of several lines."""
    start = _skip(text, 0)
    if text[start : start + 1] == "[":
        # [1, 2] in each line is no array of rows, but a file of something else.
        following = _skip(text, start + 1)
        return text[following : following + 1] in ("", "{", "]")
    if text[start : start + 1] != "{":
        return False
    if "\n" not in text and len(text) == _CHUNK:
        return True
    try:
        _, end = _DECODER.raw_decode(text, start)
    except (ValueError, RecursionError):
        return False
    return "\n" in text[start:end]


def _of_document(path: Path, text: str) -> Iterator[Object]:
    """The objects of a document, each with its number in it.

    Raises:
        SidiffError: it is damaged; what follows cannot be told apart any more.
    """
    place = number = 0
    while (place := _skip(text, place, " \t\r\n,[]")) < len(text):
        try:
            value, end = _DECODER.raw_decode(text, place)
        except (ValueError, RecursionError) as error:
            reason = getattr(error, "msg", "nested too deeply")
            raise SidiffError(
                f"{path} is damaged after {number:,} objects ({reason}): repair it or "
                "give one object a line."
            ) from None
        number += 1
        yield number, text[place:end], _checked(value)
        place = end
