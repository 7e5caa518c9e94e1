"""Raw review and metadata files to typed frames, line by line.

Metadata of 2014 is written as Python literals, everything else as JSON, and public
files mix the two; so each line is tried as strict JSON, then as a literal (parsed,
never evaluated). A line that is neither, or lacks an id, is set aside with its number
and the reason, and the caller decides how many of those are too many.
"""

from __future__ import annotations

import ast
import gzip
import io
import json
import logging
import warnings
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Never

import polars as pl
from tqdm import tqdm

from sidiff.errors import SidiffError
from sidiff.reviews.layouts import (
    ItemLayout,
    MalformedLineError,
    ReviewLayout,
    find_layout,
    looks_like,
)

logger = logging.getLogger(__name__)

_GZIP_MAGIC = b"\x1f\x8b"
# No genuine line comes near these; a crafted one must not exhaust the memory. A Python
# literal's syntax tree takes some hundred times the room of its text.
_LONGEST_LINE = 16 * 2**20
_LONGEST_LITERAL = 2**20
_KEPT_TEXT = 200
# Rows are packed into frames in blocks: a frame is far smaller than Python objects.
_ROWS_PER_BLOCK = 2**16
# Lines whose keys are looked at to tell a wrong layout.
_LINES_TO_RECOGNISE = 1000

_INTERACTIONS = pl.Schema(
    {
        "user_id": pl.String(),
        "item_id": pl.String(),
        "timestamp": pl.Int64(),
        "rating": pl.Float32(),
    }
)
_ITEMS = pl.Schema(
    {
        "item_id": pl.String(),
        "title": pl.String(),
        "brand": pl.String(),
        "categories": pl.List(pl.String()),
        "price": pl.Float64(),
        "features": pl.List(pl.String()),
        "description": pl.String(),
    }
)
_REJECTED = pl.Schema(
    {
        "file": pl.String(),
        "line": pl.Int64(),
        "reason": pl.String(),
        "text": pl.String(),
    }
)


@dataclass(frozen=True)
class Ingested:
    """What one raw file gave.

    Attributes:
        frame: the typed rows, in file order.
        rejected: the lines set aside: ``file`` (name), ``line`` (from 1), ``reason``,
            ``text`` (its beginning).
        lines: lines in the file, blank ones not counted.
        duplicates: rows dropped because their item id had come before.
    """

    frame: pl.DataFrame
    rejected: pl.DataFrame
    lines: int
    duplicates: int


def ingest_reviews(path: Path, layout: str) -> Ingested:
    """Read a file of reviews, gz or plain.

    Args:
        path: the file.
        layout: a name in ``sidiff.reviews.layouts.LAYOUTS``.

    Returns:
        ``frame`` has ``user_id``, ``item_id`` (str), ``timestamp`` (i64, seconds since
        1970 UTC) and ``rating`` (f32, nullable).

    Raises:
        SidiffError: the file is missing, empty, damaged, or of another layout.
    """
    return _ingest(path, find_layout(layout).reviews, _INTERACTIONS)


def ingest_items(path: Path, layout: str) -> Ingested:
    """Read a file of item metadata, gz or plain; an item's first line counts.

    Args:
        path: the file.
        layout: a name in ``sidiff.reviews.layouts.LAYOUTS``.

    Returns:
        ``frame`` has ``item_id``, ``title``, ``brand`` (str), ``categories`` (list of
        str, paths flattened), ``price`` (f64, in the shop's currency), ``features``
        (list of str) and ``description`` (str); all but the id nullable.

    Raises:
        SidiffError: the file is missing, empty, damaged, or of another layout.
    """
    read = _ingest(path, find_layout(layout).items, _ITEMS)
    frame = read.frame.unique("item_id", keep="first", maintain_order=True)
    return replace(read, frame=frame, duplicates=len(read.frame) - len(frame))


def check_rejected(parts: Sequence[Ingested], max_share: float) -> None:
    """Stop when a file has more malformed lines than allowed.

    Args:
        parts: what was ingested, file by file.
        max_share: allowed share of a file's lines, 0 to 1.

    Raises:
        SidiffError: names the count, the share, and the first such line.
    """
    for part in parts:
        count = len(part.rejected)
        if count > max_share * part.lines:
            first = part.rejected.row(0, named=True)
            raise SidiffError(
                f"{first['file']}: {count:,} of {part.lines:,} lines are malformed "
                f"({count / part.lines:.2%}, allowed {max_share:.2%}; first line "
                f"{first['line']}: {first['reason']}): repair the file or raise "
                "ingestion.max_rejected_share."
            )


def _ingest(
    path: Path, layout: ReviewLayout | ItemLayout, schema: pl.Schema
) -> Ingested:
    blocks: list[pl.DataFrame] = []
    rows: list[tuple[Any, ...]] = []
    rejected: list[tuple[str, int, str, str]] = []
    kinds: Counter[str] = Counter()
    lines = 0
    with warnings.catch_warnings():
        # Parsing a literal warns of odd escapes in it, straight to the console.
        warnings.simplefilter("ignore")
        for number, raw in _numbered_lines(path):
            lines += 1
            try:
                line = _parse(raw)
                if lines <= _LINES_TO_RECOGNISE:
                    kinds[looks_like(line)] += 1
                rows.append(layout.read(line))
            except MalformedLineError as error:
                # Four bytes at most make a character.
                text = raw[: 4 * _KEPT_TEXT].decode("utf-8", errors="replace")
                rejected.append((path.name, number, str(error), text[:_KEPT_TEXT]))
            if len(rows) == _ROWS_PER_BLOCK:
                blocks.append(pl.DataFrame(rows, schema=schema, orient="row"))
                rows.clear()
    blocks.append(pl.DataFrame(rows, schema=schema, orient="row"))
    part = Ingested(
        frame=pl.concat(blocks),
        rejected=pl.DataFrame(rejected, schema=_REJECTED, orient="row"),
        lines=lines,
        duplicates=0,
    )
    _check_kind(path, layout.looks, kinds, part)
    if rejected:
        logger.warning("%s: lines set aside: %s", path.name, f"{len(rejected):,}")
    return part


def _check_kind(path: Path, wanted: str, kinds: Counter[str], part: Ingested) -> None:
    """Stop at a file that is not what the layout says, or holds nothing of it."""
    if not part.lines:
        raise SidiffError(f"{path} is empty: give a file of {wanted}.")
    if kinds and not kinds[wanted]:
        likely = kinds.most_common(1)[0][0]
        raise SidiffError(
            f"{path} was given as {wanted} but looks like {likely}: set "
            "ingestion.layout accordingly or give the right file."
        )
    if part.frame.is_empty():
        first = part.rejected.row(0, named=True)
        raise SidiffError(
            f"No line of {path} could be read as {wanted} (line {first['line']}: "
            f"{first['reason']}): give the right file."
        )


def _parse(raw: bytes) -> dict[str, Any]:
    if len(raw) > _LONGEST_LINE:
        raise MalformedLineError(f"longer than {_LONGEST_LINE:,} bytes")
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        raise MalformedLineError("not UTF-8 text") from None
    try:
        line = json.loads(text, parse_constant=_not_json)
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


def _numbered_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Yield the lines that are not blank, with their numbers from 1."""
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
