"""Objects of a JSON text: one a line, several a line, over many lines, or in an array.

The rule: a text that begins with ``[``, or in whose first 65,536 letters an object does
not end in its line, is a document, of which every object is a row; any other is read
line by line, each with one object or more. NaN and Infinity are read, and Python's
literals, too. Numbers keep all their digits.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import polars as pl

from sidiff.errors import SidiffError
from sidiff.reviews.encodings import TextForm, find_form, text_chunks
from sidiff.reviews.layouts import MalformedLineError
from sidiff.reviews.lines import numbered_lines, parse_literal
from sidiff.reviews.streams import ACCOUNT, lazy
from sidiff.reviews.values import id_text, plain_text

ROWS_PER_BLOCK = 2**12
LARGEST_OBJECT = 2**24
"""Characters of an object in a document, beyond which it is none."""
_MOST_KEYS = 10_000
# Between two objects of one text: JSON's blanks, commas, and the record separator.
_BETWEEN = " \t\r\n,\x1e\ufeff"
_CHUNK = 2**16
_SHOWN = 200
# Longer than NaN, -Infinity, true and an escaped letter.
_LONGEST_WORD = 12
# After what cannot be read, the next object of an array, or of lines. From the comma
# before the error on, a comma is enough: it may be the end that is missing.
_NEXT = re.compile(r"\n\s*(?=[\]{])|\}\s*,\s*(?=\{)")
_NEXT_AFTER_ERROR = re.compile(r",\s*(?=\{)")
_DECODER = json.JSONDecoder()
_NOT_JSON = "not JSON"

Object = tuple[int, str, dict[str, Any] | str]
"""Number of its line (of a document: of the object), its text, it or its fault."""


def objects(path: Path) -> Iterator[list[Object]]:
    """Yield the objects of a file, and what is none, in blocks.

    Raises:
        SidiffError: the file is missing, damaged, or cannot be read.
    """
    form = find_form(path)
    if not _is_document(path, form):
        yield from _of_lines(path, form)
        return
    found = _of_document(path, form)
    while block := list(islice(found, ROWS_PER_BLOCK)):
        yield block


def keys(path: Path, wanted: Sequence[str] = ()) -> list[str]:
    """Return the keys of all objects, or of the first that have all ``wanted`` ones.

    Raises:
        SidiffError: as ``objects``, or there are too many.
    """
    found: dict[str, None] = {}
    for block in objects(path):
        for _, _, value in block:
            if isinstance(value, dict):
                found.update(dict.fromkeys(value))
        if wanted and found.keys() >= set(wanted):
            break
        # Then they are no names of columns, but values.
        if len(found) > _MOST_KEYS:
            raise SidiffError(
                f"{path} has objects with more than {_MOST_KEYS:,} keys in all: give "
                "one with a row an object."
            )
    return list(found)


def scan(path: Path, ids: Sequence[str], others: Sequence[str]) -> pl.LazyFrame:
    """The rows of a file, not read yet.

    Returns:
        ``ROW``, ``FAULT``, ``LINE`` and the values of keys (str): those of ``ids`` by
        ``values.id_text``, those of ``others`` by ``values.plain_text``.
    """
    rules = dict.fromkeys(others, plain_text) | dict.fromkeys(ids, id_text)
    schema = pl.Schema({**ACCOUNT, **dict.fromkeys(rules, pl.String())})

    def frames(wanted: Collection[str]) -> Iterator[pl.DataFrame]:
        asked = {name: rule for name, rule in rules.items() if name in wanted}
        kept = pl.Schema({name: schema[name] for name in (*ACCOUNT, *asked)})
        for block in objects(path):
            numbers, texts, values = zip(*block, strict=True)
            faults = [value if isinstance(value, str) else None for value in values]
            rows = [{} if isinstance(value, str) else value for value in values]
            columns = [
                _column([row.get(name) for row in rows], rule)
                for name, rule in asked.items()
            ]
            yield pl.DataFrame([numbers, faults, texts, *columns], schema=kept)

    return lazy(frames, schema)


def _column(
    values: Sequence[object], rule: Callable[[object], str | None]
) -> Sequence[str | None]:
    kinds = set(map(type, values))
    if kinds == {int}:
        return list(map(str, values))
    if kinds == {str} and all(map(str.isascii, values)):  # type: ignore[arg-type]
        return values  # type: ignore[return-value]
    return list(map(rule, values))


def _of_lines(path: Path, form: TextForm) -> Iterator[list[Object]]:
    lines = numbered_lines(path, form)
    while block := list(islice(lines, ROWS_PER_BLOCK)):
        yield _parse_together(block) or [
            found for number, raw in block for found in _parse_alone(number, raw)
        ]


def _parse_together(block: Sequence[tuple[int, bytes]]) -> list[Object] | None:
    """Parse lines in one go, if each is one object."""
    try:
        texts = [raw.decode("utf-8").strip() for _, raw in block]
        if not all(text[0] == "{" and text[-1] == "}" for text in texts):
            return None
        values = _DECODER.decode(f"[{','.join(texts)}]")
    except (ValueError, IndexError, RecursionError):
        return None
    if len(values) != len(block) or not all(isinstance(v, dict) for v in values):
        return None
    numbers = (number for number, _ in block)
    return list(zip(numbers, texts, values, strict=True))


def _parse_alone(number: int, raw: bytes) -> list[Object]:
    """The objects of a line, or what is wrong with it."""
    try:
        text = raw.decode("utf-8").strip()
    except UnicodeDecodeError:
        shown = raw.decode("utf-8", errors="replace").strip()
        return [(number, shown, "not UTF-8 text")]
    try:
        parts = _several(text)
    except (ValueError, RecursionError):
        try:
            parts = [(text, parse_literal(text))]
        except MalformedLineError:
            return [(number, text, _NOT_JSON)]
    return [(number, part, _checked(value)) for part, value in parts]


def _several(text: str) -> list[tuple[str, Any]]:
    """The JSON values that stand in a text one after the other."""
    found: list[tuple[str, Any]] = []
    place = _skip(text, 0)
    while place < len(text):
        value, end = _DECODER.raw_decode(text, place)
        found.append((text[place:end], value))
        after = _skip(text, end)
        if after == end < len(text) and text[end] not in "{[":
            raise ValueError("something stands behind a value")
        place = after
    return found


def _checked(value: Any) -> dict[str, Any] | str:
    named = isinstance(value, dict) and all(isinstance(key, str) for key in value)
    return value if named else "not an object with named fields"


def _skip(text: str, place: int) -> int:
    while place < len(text) and text[place] in _BETWEEN:
        place += 1
    return place


def _is_document(path: Path, form: TextForm) -> bool:
    """Test that the text is an array, or an early object does not end in its line."""
    text = next(text_chunks(path, form, _CHUNK), "")
    start = _skip(text, 0)
    if text[start : start + 1] == "[":
        # [1, 2] in each line is no array of rows, but a file of something else.
        following = _skip(text, start + 1)
        return text[following : following + 1] in ("", "{", "]")
    cut = len(text) >= _CHUNK
    if cut and text[start : start + 1] == "{" and "\n" not in text:
        return True
    while text[start : start + 1] == "{":
        line_end = text.find("\n", start)
        try:
            _, end = _DECODER.raw_decode(text, start)
        except json.JSONDecodeError as error:
            return cut and 0 <= line_end < len(text) - 1 and _is_cut(error, text)
        except (ValueError, RecursionError):
            return False
        if 0 <= line_end < end:
            return True
        start = _skip(text, end)
    return False


def _is_cut(error: json.JSONDecodeError, text: str) -> bool:
    """Test that a value is not whole for the reason that the text ends."""
    unread = len(text) - error.pos
    return unread <= _LONGEST_WORD or error.msg.startswith("Unterminated")


def _of_document(path: Path, form: TextForm) -> Iterator[Object]:
    """The objects of a document, each with its number in it."""
    number = 0
    text = _Window(path, form)
    while text.skip_between():
        number += 1
        try:
            shown, value = text.take()
            yield number, shown, _checked(value)
        except ValueError as error:
            yield number, text.drop(getattr(error, "pos", 0)), _NOT_JSON


class _Window:
    """The part of a long text that is looked at."""

    def __init__(self, path: Path, form: TextForm) -> None:
        self._chunks = text_chunks(path, form, _CHUNK)
        self._text = ""
        self._place = 0
        self._in_array = False

    def skip_between(self) -> bool:
        """Go to the next value; False at the end."""
        while True:
            self._place = _skip(self._text, self._place)
            at = self._text[self._place : self._place + 1]
            if at == "[" and not self._in_array:
                self._in_array = True
            elif at == "]" and self._in_array:
                self._in_array = False
            elif at:
                return True
            elif not self._more():
                return False
            else:
                continue
            self._place += 1

    def take(self) -> tuple[str, Any]:
        """The value here with its text.

        Raises:
            ValueError: there is none.
        """
        while True:
            try:
                value, end = _DECODER.raw_decode(self._text, self._place)
            except RecursionError as error:
                raise ValueError("nested too deeply") from error
            except json.JSONDecodeError as error:
                large = len(self._text) - self._place > LARGEST_OBJECT
                if large or not _is_cut(error, self._text) or not self._more():
                    raise
                continue
            shown = self._text[self._place : end]
            self._place = end
            return shown, value

    def drop(self, wrong: int) -> str:
        """Leave what is no value, up to where one may begin; return its beginning.

        ``wrong`` is where the text is not what was expected, 0 where nobody knows.
        """
        shown = self._text[self._place :][:_SHOWN]
        self._place += 1
        comma = self._text.rfind(",", self._place, wrong + 1)
        near = _NEXT_AFTER_ERROR.match(self._text, comma) if comma >= 0 else None
        if near is not None:
            found = _NEXT.search(self._text, self._place, near.end())
            end = (found or near).end()
            shown, self._place = shown[: end - self._place + 1], end
            return shown
        while (found := _NEXT.search(self._text, self._place)) is None:
            self._place = max(self._place, len(self._text) - _SHOWN)
            if not self._more():
                self._place = len(self._text)
                return shown
        self._place = found.end()
        return shown

    def _more(self) -> bool:
        """Read on, by more the longer the value is that is not whole yet."""
        waiting = self._text[self._place :]
        pieces, letters = [waiting], 0
        for chunk in self._chunks:
            pieces.append(chunk)
            letters += len(chunk)
            if letters >= len(waiting):
                break
        self._text = "".join(pieces)
        self._place = 0
        return letters > 0
