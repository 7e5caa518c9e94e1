"""Lines of a raw file and what they say.

Public review files mix JSON and Python literals; so each line is tried as strict JSON,
then as a literal (parsed, never evaluated).
"""

from __future__ import annotations

import ast
import gzip
import io
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Never

from tqdm import tqdm

from sidiff.errors import SidiffError
from sidiff.reviews.layouts import MalformedLineError

_GZIP_MAGIC = b"\x1f\x8b"
# No genuine line comes near these; a crafted one must not exhaust the memory. A Python
# literal's syntax tree takes some hundred times the room of its text.
_LONGEST_LINE = 16 * 2**20
_LONGEST_LITERAL = 2**20


def numbered_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Yield the lines of a file, gz or plain, that are not blank, numbered from 1.

    Raises:
        SidiffError: the file is missing, damaged, or cannot be read.
    """
    number = 0
    try:
        with path.open("rb") as raw:
            magic = raw.read(2)
            raw.seek(0)
            stream = raw
            if magic == _GZIP_MAGIC:
                stream = io.BufferedReader(gzip.GzipFile(fileobj=raw))
            with _progress(path) as bar:
                while line := _read_line(stream):
                    number += 1
                    if number % 1000 == 0:
                        bar.update(raw.tell() - bar.n)
                    if number == 1:
                        line = line.removeprefix(b"\xef\xbb\xbf")
                    if not line.isspace():
                        yield number, line
    except (EOFError, zlib.error, gzip.BadGzipFile):
        raise SidiffError(
            f"{path} is cut short or damaged after line {number:,}: delete it and get "
            "it again."
        ) from None
    except FileNotFoundError:
        raise SidiffError(f"{path} does not exist: correct the path.") from None
    except OSError as error:
        raise SidiffError(
            f"{path} cannot be read ({error.strerror}): give a readable file."
        ) from None


def parse_line(raw: bytes) -> dict[str, Any]:
    """Return the named fields of a line.

    Raises:
        MalformedLineError: it is neither JSON nor a literal, or has no named fields.
    """
    if len(raw) > _LONGEST_LINE:
        raise MalformedLineError(f"longer than {_LONGEST_LINE:,} bytes")
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        raise MalformedLineError("not UTF-8 text") from None
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


# Made once: json.loads would make one for every line.
_STRICT = json.JSONDecoder(parse_constant=_not_json)


def _read_line(stream: io.BufferedReader) -> bytes:
    """Return the next line; of one beyond the limit, no more than tells so."""
    line = stream.readline(_LONGEST_LINE + 1)
    rest = line
    while len(rest) > _LONGEST_LINE and not rest.endswith(b"\n"):
        rest = stream.readline(_LONGEST_LINE + 1)
    return line


def _progress(path: Path) -> tqdm[Any]:
    return tqdm(
        total=path.stat().st_size,
        desc=f"Reading {path.name}",
        unit="B",
        unit_scale=True,
        delay=2,
        leave=False,
    )
