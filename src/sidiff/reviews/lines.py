"""Lines of a raw file, and the parsing of Amazon's lines.

Amazon's files mix JSON and Python literals, so a line that is not strict JSON is parsed
as a literal.
"""

from __future__ import annotations

import ast
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, AnyStr, BinaryIO, Never

from tqdm import tqdm

from sidiff.reviews.encodings import UTF8, TextForm, opened
from sidiff.reviews.layouts import MalformedLineError

_MARK = b"\xef\xbb\xbf"
# Genuine lines are far shorter; a crafted one must not exhaust the memory. The syntax
# tree of a Python literal takes about a hundred times the memory of its text.
LONGEST_LINE = 16 * 2**20
_LONGEST_LITERAL = 2**20


def numbered_lines(
    path: Path, form: TextForm = UTF8, *, blank: bool = False
) -> Iterator[tuple[int, bytes]]:
    """Yield the lines of a file, gzip or plain, in UTF-8, numbered from 1.

    Blank lines are counted, and yielded only if ``blank`` is true.

    Raises:
        SidiffError: the file is missing, damaged, or cannot be read.
    """
    with (
        opened(path) as (stream, raw),
        tqdm(
            total=path.stat().st_size,
            desc=f"Reading {path.name}",
            unit="B",
            unit_scale=True,
            delay=2,
            leave=False,
        ) as bar,
    ):
        for number, line in enumerate(_lines(stream, form), start=1):
            if number % 1000 == 0:
                bar.update(raw.tell() - bar.n)
            text = line.removeprefix(_MARK) if number == 1 else line
            if blank or not text.isspace():
                yield number, text


def decoded(raw: bytes) -> tuple[str, str | None]:
    """Decode a line, with U+FFFD for invalid bytes; also return the fault or None."""
    try:
        return raw.decode("utf-8"), None
    except UnicodeDecodeError:
        return raw.decode("utf-8", errors="replace"), "not UTF-8 text"


def parse_line(raw: bytes) -> dict[str, Any]:
    """Parse the named fields of a line: JSON, or a Python literal (never evaluated).

    Raises:
        MalformedLineError: the line is neither, or has no named fields.
    """
    if len(raw) > LONGEST_LINE:
        raise MalformedLineError(f"longer than {LONGEST_LINE:,} bytes")
    text, fault = decoded(raw)
    if fault is not None:
        raise MalformedLineError(fault)
    try:
        line = _STRICT.decode(text)
    except (ValueError, RecursionError) as error:
        line = _parse_literal(text, error)
    if not isinstance(line, dict):
        raise MalformedLineError("not an object with named fields")
    return line


def _parse_literal(text: str, json_error: Exception) -> Any:
    if len(text) > _LONGEST_LITERAL:
        raise MalformedLineError(
            f"not JSON, and longer than {_LONGEST_LITERAL:,} characters"
        )
    try:
        return ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        reason = getattr(json_error, "msg", "nested too deeply or not strict")
        raise MalformedLineError(
            f"neither JSON ({reason}) nor a Python literal"
        ) from None


def _not_json(constant: str) -> Never:
    raise ValueError(f"{constant} is not strict JSON")


# Created once: json.loads would create one for every line.
_STRICT = json.JSONDecoder(parse_constant=_not_json)


def _lines(stream: BinaryIO, form: TextForm) -> Iterator[bytes]:
    """Yield the lines of a stream as UTF-8; too long ones are cut at the limit."""
    if form.encoding == "utf-8":
        while line := _read_line(stream):
            yield line
        return
    text = io.TextIOWrapper(stream, form.encoding, "replace", newline="\n")
    while piece := _read_line(text):
        yield piece.encode("utf-8", "replace")
    text.detach()


def _read_line(stream: IO[AnyStr]) -> AnyStr:
    line = stream.readline(LONGEST_LINE + 1)
    rest = line
    while len(rest) > LONGEST_LINE and rest[-1:] not in ("\n", b"\n"):
        rest = stream.readline(LONGEST_LINE + 1)
    return line
