"""Delimited text: the dialect of a file is told from all of it, then read by.

The rule: the separator is the one of ``SEPARATORS`` that header and first lines agree
on. A field in quotation marks is quoted, with marks doubled (or after a backslash where
the file has it so) and line breaks kept; a mark anywhere else is a letter. Of two
readings of a line, the one with as many fields as the header counts. A quoted field of
several lines that are whole rows each, alike the other rows, is none: its first mark is
a letter. A file with stray marks, and not one field that needs its quotes, has no
quoting at all. A row with more or fewer fields than the header is none, unless many
rows end in spare separators, or leave empty fields at the end out.

A file of which every line is one row by these rules, the usual one, is certified in one
vectorised pass and read by Polars; any other, row by row in blocks.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice, takewhile
from pathlib import Path

import polars as pl

from sidiff.reviews.encodings import BLOCK_BYTES, TextForm, find_form, opened
from sidiff.reviews.lines import numbered_lines
from sidiff.reviews.records import Habits, Record, Tally, records
from sidiff.reviews.splitter import Splitter
from sidiff.reviews.streams import ACCOUNT, LINE, ROW, all_lines, lazy, remembered

SEPARATORS = ",\t;|\x01"
ROWS_PER_BLOCK = 2**14
_SAMPLED_LINES = 200
_LONGEST_HEADER = 2**20
_TALLEST_ROW = 20
_QUOTED = re.compile(rb'"[^"]*"')
# Spreadsheets may be told the separator in a line before the header.
_TOLD = re.compile(rb'"?sep=(.)"?\s*', re.IGNORECASE)


@dataclass(frozen=True)
class Dialect:
    """The dialect of a file: how its lines are rows of fields.

    Attributes:
        form: encoding and line ends.
        separator: what stands between two fields.
        names: of the columns, all different.
        header: the same as they stand in the header.
        skipped: lines up to the header's end.
        certified: every line is one row with as many fields as names, or blank.
        habits: of its rows, where they are not certified.
        quoting: fields may be quoted.
        escape: a backslash makes the letter after it an ordinary one.
    """

    form: TextForm
    separator: str
    names: tuple[str, ...]
    header: tuple[str, ...]
    skipped: int
    certified: bool
    habits: Habits
    quoting: bool
    escape: bool


@remembered
def find_dialect(path: Path) -> Dialect:
    """Tell the dialect of a file from the whole of it.

    Raises:
        SidiffError: the file is missing, damaged, or cannot be read.
    """
    form = find_form(path)
    sampled = islice(numbered_lines(path, form, blank=True), _SAMPLED_LINES)
    first = [line for _, line in sampled]
    before = len(list(takewhile(bytes.isspace, first)))
    told = _TOLD.fullmatch(first[before]) if before < len(first) else None
    before += bool(told)
    plain = [line for line in first[before:] if not line.startswith(b"#")]
    separator = told[1].decode("latin-1") if told else _separator(plain)
    before += _remarks(first[before:], separator)
    header, height = _header(first[before:], separator)
    if _has_row_names(first[before + height :], separator, len(header)):
        header = ("", *header)
    names = _distinct(header)
    dialect = Dialect(
        form,
        separator,
        names,
        header,
        skipped=before + height,
        certified=True,
        habits=Habits(len(names)),
        quoting=True,
        escape=False,
    )
    simple = form.valid and form.encoding == "utf-8" and form.newline == "\n"
    # A blank line behind the header would be Polars' first row.
    blank = any(line.isspace() for line in first[1:2])
    simple = simple and before + height == 1 and not blank
    if simple and _is_plain(path, separator, len(names)):
        return dialect
    return _judge(path, replace(dialect, certified=False), first[before:])


def _separator(lines: Sequence[bytes]) -> str:
    """The separator that most lines have as often as the header, else a comma."""
    bare = [_QUOTED.sub(b"", line) for line in lines if not line.isspace()]
    if not bare:
        return SEPARATORS[0]

    def agreement(separator: str) -> tuple[float, int]:
        counts = [line.count(separator.encode()) for line in bare]
        if not counts[0]:
            return 0.0, 0
        return sum(count == counts[0] for count in counts) / len(counts), counts[0]

    best = max(SEPARATORS, key=agreement)
    most = max(SEPARATORS, key=lambda separator: bare[0].count(separator.encode()))
    # A few rows of text must not outvote a header that is clear.
    return best if agreement(best)[0] > 0.5 else most  # noqa: PLR2004


def _header(lines: Sequence[bytes], separator: str) -> tuple[tuple[str, ...], int]:
    """The fields of the first row, and the lines it takes."""
    splitter = Splitter(separator, quoting=True, escape=False)
    texts = [line.decode("utf-8", errors="replace") for line in lines]
    if not texts:
        return (), 0
    found = _row_at(texts, splitter)
    values, height = found or (splitter.loose(texts[0].rstrip("\r\n")), 1)
    return tuple(values), height


def _row_at(
    lines: Sequence[str], splitter: Splitter
) -> tuple[Sequence[str], int] | None:
    """The row that begins in the first line, and how many lines it takes."""
    joined = ""
    for height, line in enumerate(lines, start=1):
        joined += line
        text = joined.rstrip("\r\n")
        fields = splitter.split(text)
        if fields.exact:
            return fields.values, height
        if len(joined) > _LONGEST_HEADER or not splitter.opens(text):
            break
    return None


def _remarks(lines: Sequence[bytes], separator: str) -> int:
    """How many lines above the header begin with ``#`` and are no header."""
    count = 0
    while count + 1 < len(lines) and lines[count].startswith(b"#"):
        here, below = (
            _QUOTED.sub(b"", line).count(separator.encode())
            for line in lines[count:][:2]
        )
        if here and here <= below:
            break  # the header, written as a remark
        count += 1
    return count


def _has_row_names(lines: Sequence[bytes], separator: str, width: int) -> bool:
    """Test for R's ``write.table``: row numbers in a column that the header lacks."""
    splitter = Splitter(separator, quoting=True, escape=False)
    texts = [line.decode("utf-8", errors="replace").rstrip("\r\n") for line in lines]
    rows = [splitter.split(text).values for text in texts if text]
    numbers = map(str, range(1, len(rows) + 1))
    numbered = len(rows) > 1 and all(
        len(row) == width + 1 and row[0] == number
        for row, number in zip(rows, numbers, strict=True)
    )
    # A separator or a comma too many in every row would look the same.
    quoted = all(text.startswith('"') for text in texts if text)
    bare = any(row[-1].strip() and row[-1][0] != " " for row in rows)
    return numbered and (quoted or bare)


def _distinct(names: Sequence[str]) -> tuple[str, ...]:
    """Names without blanks at their ends, the same one twice told apart."""
    found: dict[str, None] = {}
    for number, name in enumerate(names, start=1):
        bare = name.strip(" \t\r\n\ufeff").removeprefix("#").strip()
        bare = bare or f"column_{number}"
        found[f"{bare}_{number}" if bare in found else bare] = None
    return tuple(found)


def _is_plain(path: Path, separator: str, width: int) -> bool:
    """Test that every line is a row that Polars reads by the rules, or blank."""
    mark = re.escape(separator)
    field = rf'(?:[^"\r{mark}]*|"(?:[^"\r]|"")*")'
    row = rf"^(?:{field}(?:{mark}{field}){{{width - 1}}})?\r?$"
    return all_lines(path, 1, pl.col(LINE).str.contains(row).fill_null(value=True))


def _judge(path: Path, dialect: Dialect, first: Sequence[bytes]) -> Dialect:
    """Choose quoting and escapes by what fewest rows are wrong under."""
    ways = (False, True) if _has_backslash(path) else (False,)
    dialect = replace(dialect, habits=_habits(dialect, first))
    candidates = [replace(dialect, quoting=True, escape=escape) for escape in ways]
    tallies = [_tally(path, candidate) for candidate in candidates]
    best = min(ways, key=lambda way: (tallies[way].faults, tallies[way].strays))
    tally = tallies[best]
    header_quoted = b'"' in first[0] if first else False
    bare = (
        tally.strays
        and not tally.needed
        and not header_quoted
        and 2 * tally.enclosed <= tally.records
    )
    # Where most such fields are texts beyond doubt, the others are as well.
    habits = replace(dialect.habits, texts=tally.texts > 2 * tally.rows)
    return replace(candidates[best], quoting=not bare, habits=habits)


def _habits(dialect: Dialect, first: Sequence[bytes]) -> Habits:
    """Tell them from the first rows behind the header, of one line or of several."""
    splitter = Splitter(dialect.separator, quoting=True, escape=False)
    lines = [line.decode("utf-8", errors="replace") for line in first[1:]]
    rows, place = [], 0
    while place < len(lines):
        found = _row_at(lines[place : place + _TALLEST_ROW], splitter)
        if found and not lines[place].isspace():
            rows.append(found[0])
        place += found[1] if found else 1
    return Habits.of(rows, len(dialect.names))


def _has_backslash(path: Path) -> bool:
    with opened(path) as (stream, _):
        return any(
            b"\\" in block for block in iter(lambda: stream.read(BLOCK_BYTES), b"")
        )


def _tally(path: Path, dialect: Dialect) -> Tally:
    tally = Tally()
    deque(_records(path, dialect, tally), maxlen=0)
    return tally


def _records(path: Path, dialect: Dialect, tally: Tally) -> Iterator[Record]:
    splitter = Splitter(
        dialect.separator, quoting=dialect.quoting, escape=dialect.escape
    )
    lines = numbered_lines(path, dialect.form, blank=True)
    behind = islice(lines, dialect.skipped, None)
    numbered = ((number - dialect.skipped, line) for number, line in behind)
    return records(numbered, splitter, dialect.habits, tally)


def scan(path: Path) -> pl.LazyFrame:
    """The rows of a file as texts, not read yet.

    Returns:
        ``ROW``, ``FAULT``, ``LINE`` and the columns of the file (str).
    """
    dialect = find_dialect(path)
    columns = dict.fromkeys(dialect.names, pl.String())
    if dialect.certified:
        rows = pl.scan_csv(
            path,
            glob=False,
            separator=dialect.separator,
            has_header=False,
            skip_rows=1,
            schema=columns,
            row_index_name=ROW,
            row_index_offset=1,
        )
        return rows.filter(~pl.all_horizontal(pl.col(*columns).is_null()))
    schema = pl.Schema({**ACCOUNT, **columns})

    def frames(wanted: Collection[str]) -> Iterator[pl.DataFrame]:
        del wanted  # a row is split as a whole
        read = _records(path, dialect, Tally())
        while block := list(islice(read, ROWS_PER_BLOCK)):
            numbers, texts, fields, faults = zip(*block, strict=True)
            account = [numbers, faults, texts]
            yield pl.DataFrame([*account, *zip(*fields, strict=True)], schema=schema)

    return lazy(frames, schema)
