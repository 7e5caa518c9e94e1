"""Delimited text: dialect detection over the whole file, then parsing.

The separator is the one of ``SEPARATORS`` that occurs equally often in the header and
in the first lines. A field in quotation marks is quoted and may contain line breaks;
quotation marks in it are doubled, or escaped by a backslash. A quotation mark anywhere
else is an ordinary character. So is one that opens a quoted field of several lines if
these lines are complete rows by themselves. A row with more or fewer fields than the
header is set aside.

Most files have one row a line and no stray quotation marks. If one vectorised pass
confirms that, Polars reads the file; otherwise it is parsed row by row in blocks.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice, takewhile
from pathlib import Path

import polars as pl

from sidiff.reviews.encodings import TextForm, find_form
from sidiff.reviews.lines import numbered_lines
from sidiff.reviews.records import Records, Splitter
from sidiff.reviews.streams import LINE, ROW, ROW_SCHEMA, lazy, remembered

SEPARATORS = ",\t;|\x01"
ROWS_PER_BLOCK = 2**14
_SAMPLED_LINES = 200
_FEWEST_ROWS, _SHARE_OF_NUMBERS = 3, 0.9
_QUOTED = re.compile(rb'"[^"]*"')


@dataclass(frozen=True)
class Dialect:
    """The dialect of a file: how its lines form rows of fields.

    Attributes:
        form: encoding of the file.
        separator: the character between two fields.
        names: distinct names of the columns.
        skipped: number of lines up to and including the header.
        certified: every line is blank or one row with a field for every name.
        escape: a backslash makes the next character an ordinary one.
        numeric: columns whose values begin with a digit.
        keep_texts: quoted fields of several lines stay one field even if their lines
            look like rows.
    """

    form: TextForm
    separator: str
    names: tuple[str, ...]
    skipped: int
    certified: bool = False
    escape: bool = False
    numeric: frozenset[int] = frozenset()
    keep_texts: bool = False

    def records(self, numbered: Iterator[tuple[int, bytes]]) -> Records:
        """Return the rows of a file's numbered lines, numbered from the header on."""
        body = islice(numbered, self.skipped, None)
        return Records(
            ((number - self.skipped, line) for number, line in body),
            Splitter(self.separator, escape=self.escape),
            len(self.names),
            self.numeric,
            keep_texts=self.keep_texts,
        )


@remembered
def find_dialect(path: Path) -> Dialect:
    """Find the dialect of a file from its whole content.

    Raises:
        SidiffError: the file is missing, damaged, or cannot be read.
    """
    form = find_form(path)
    sampled = list(islice(numbered_lines(path, form, blank=True), _SAMPLED_LINES))
    first = [line for _, line in sampled]
    above = len(list(takewhile(bytes.isspace, first)))
    separator = _separator(first[above:])
    header = _header(first[above:], separator)
    dialect = Dialect(form, separator, _distinct(header), skipped=above + 1)
    # Polars would read a blank line above or below the header as a row.
    blank = any(map(bytes.isspace, first[:2]))
    if form.plain and not blank and _is_plain(path, separator, len(header)):
        return replace(dialect, certified=True)
    texts = replace(dialect, keep_texts=True).records(iter(sampled))
    rows = [values for _, _, values, fault in texts if fault is None]
    return _judge(path, replace(dialect, numeric=_numeric(rows)))


def _separator(lines: Sequence[bytes]) -> str:
    """Return the separator that most lines have as often as the header, or a comma."""
    bare = [_QUOTED.sub(b"", line) for line in lines if not line.isspace()]
    if not bare:
        return SEPARATORS[0]

    def agreement(separator: str) -> tuple[float, int]:
        counts = [line.count(separator.encode()) for line in bare]
        if not counts[0]:
            return 0.0, 0
        return sum(count == counts[0] for count in counts) / len(counts), counts[0]

    return max(SEPARATORS, key=agreement)


def _header(lines: Sequence[bytes], separator: str) -> tuple[str, ...]:
    """Return the fields of the first line."""
    if not lines:
        return ()
    text = lines[0].decode("utf-8", errors="replace").rstrip("\r\n")
    splitter = Splitter(separator, escape=False)
    fields = splitter.split(text)
    return tuple(splitter.split_everywhere(text) if fields.strays else fields.values)


def _distinct(names: Sequence[str]) -> tuple[str, ...]:
    """Strip names, and number empty and repeated ones."""
    found: dict[str, None] = {}
    for number, name in enumerate(names, start=1):
        bare = name.strip(" \t\r\n\ufeff") or f"column_{number}"
        found[f"{bare}_{number}" if bare in found else bare] = None
    return tuple(found)


def _is_plain(path: Path, separator: str, width: int) -> bool:
    """Test that every line is blank or a row that Polars reads by the same rules."""
    mark = re.escape(separator)
    field = rf'(?:[^"\r{mark}]*|"(?:[^"\r]|"")*")'
    row = rf"^(?:{field}(?:{mark}{field}){{{width - 1}}})?\r?$"
    plain = pl.col(LINE).str.contains(row).fill_null(value=True)
    lines = pl.scan_csv(
        path,
        glob=False,
        separator="\x02",  # absent from text files, so each line is one field
        quote_char=None,
        has_header=False,
        skip_rows=1,
        schema={LINE: pl.String()},
    )
    try:
        found = lines.select(plain.all()).collect(engine="streaming")
    except pl.exceptions.PolarsError:
        return False
    return bool(found.item())


def _numeric(rows: Sequence[Sequence[str]]) -> frozenset[int]:
    """Return the columns of which nearly all values begin with a digit."""
    if len(rows) < _FEWEST_ROWS:
        return frozenset()
    columns = enumerate(zip(*rows, strict=True))
    return frozenset(
        place
        for place, values in columns
        if sum(value[:1].isdigit() for value in values)
        >= _SHARE_OF_NUMBERS * len(values)
    )


def _judge(path: Path, dialect: Dialect) -> Dialect:
    """Decide whether backslashes escape: the choice with fewer faulty rows wins."""
    read = _records(path, dialect)
    deque(read, maxlen=0)
    if read.backslashes:
        escaping = replace(dialect, escape=True)
        again = _records(path, escaping)
        deque(again, maxlen=0)
        if (again.faults, again.strays) < (read.faults, read.strays):
            dialect, read = escaping, again
    # If most quoted fields of several lines are certainly texts, all of them are.
    return replace(dialect, keep_texts=read.texts > 2 * read.rows)


def _records(path: Path, dialect: Dialect) -> Records:
    return dialect.records(numbered_lines(path, dialect.form, blank=True))


def scan(path: Path) -> pl.LazyFrame:
    """Scan the rows of a file lazily.

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
    schema = pl.Schema({**ROW_SCHEMA, **columns})
    nothing = [None] * len(columns)

    def frames() -> Iterator[pl.DataFrame]:
        read = iter(_records(path, dialect))
        while block := list(islice(read, ROWS_PER_BLOCK)):
            numbers, texts, fields, faults = zip(*block, strict=True)
            values = (row or nothing for row in fields)
            marks = [numbers, faults, texts]
            yield pl.DataFrame([*marks, *zip(*values, strict=True)], schema=schema)

    return lazy(frames, schema)
