"""JSON text: one or several objects a line, over many lines, or in an array.

A text that begins with an array, or with an object of several lines, is a document: it
is held in memory, and every object in it is a row. Any other text is read line by line.
NaN and Infinity are accepted.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import polars as pl

from sidiff.errors import SidiffError
from sidiff.reviews.encodings import find_form, read_text
from sidiff.reviews.lines import decoded, numbered_lines
from sidiff.reviews.streams import ROW_SCHEMA, lazy
from sidiff.reviews.values import id_text, plain_text

ROWS_PER_BLOCK = 2**12
_CHUNK = 2**20
_DECODER = json.JSONDecoder()

Object = tuple[int, str, dict[str, Any] | str]
"""Number of the line (or of the object in a document), text, and value or fault."""


def objects(path: Path) -> Iterator[list[Object]]:
    """Yield the objects of a file, and lines that are not objects, in blocks.

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


def keys(path: Path, required: Sequence[str] = ()) -> list[str]:
    """Return the keys of all objects.

    With ``required`` keys, reading stops as soon as all of them have been found.

    Raises:
        SidiffError: as ``objects``.
    """
    found: dict[str, None] = {}
    for block in objects(path):
        for _, _, value in block:
            if isinstance(value, dict):
                found.update(dict.fromkeys(value))
        if required and found.keys() >= set(required):
            break
    return list(found)


def scan(path: Path, ids: Sequence[str], others: Sequence[str]) -> pl.LazyFrame:
    """Scan the rows of a file lazily.

    Returns:
        ``ROW``, ``FAULT``, ``LINE`` and a column (str) for each key: ``values.id_text``
        converts the ``ids`` and ``values.plain_text`` the ``others``.
    """
    rules = dict.fromkeys(others, plain_text) | dict.fromkeys(ids, id_text)
    schema = pl.Schema({**ROW_SCHEMA, **dict.fromkeys(rules, pl.String())})

    def frames() -> Iterator[pl.DataFrame]:
        for block in objects(path):
            numbers, texts, values = zip(*block, strict=True)
            faults = [value if isinstance(value, str) else None for value in values]
            rows = [{} if isinstance(value, str) else value for value in values]
            columns = [
                [rule(row.get(name)) for row in rows] for name, rule in rules.items()
            ]
            yield pl.DataFrame([numbers, faults, texts, *columns], schema=schema)

    return lazy(frames, schema)


def _of_line(number: int, raw: bytes) -> list[Object]:
    """Return the objects of a line, or its fault."""
    text, fault = decoded(raw)
    text = text.strip()
    if fault is not None:
        return [(number, text, fault)]
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
        # Lines such as [1, 2] are arrays, but not arrays of rows.
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
    """Yield the objects of a document, numbered from 1.

    Raises:
        SidiffError: it is damaged; where the next object begins is unknown then.
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
