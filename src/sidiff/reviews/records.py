"""Lines of delimited text to rows, one by one, by the rules of ``delimited``."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

LARGEST_RECORD = 2**24
"""Characters of a row of many lines, beyond which its first mark is a letter."""
_MOST_HALVES = 50
_ESCAPED = {"n": "\n", "t": "\t", "r": "\r"}
# With commas between two fields, so few lines of prose may look like rows.
_LINES_OF_PROSE = 3

Record = tuple[int, str, Sequence[str | None], str | None]
"""Number of its first line, the text, the fields (None where missing), the fault."""


@dataclass
class Tally:
    """Evidence in a reading of a file for and against its dialect.

    Attributes:
        records: rows read, good or not.
        faults: rows with another number of fields than the header.
        strays: rows with a quotation mark that is a letter.
        enclosed: quoted fields that hold nothing that needs it.
        needed: quoted fields that hold a separator, a mark or a line break.
    """

    records: int = 0
    faults: int = 0
    strays: int = 0
    enclosed: int = 0
    needed: int = 0


@dataclass(frozen=True)
class Fields:
    """One way to read a text: its fields, and whether each mark in it is well set."""

    values: list[str]
    exact: bool
    enclosed: int = 0
    needed: int = 0


class Splitter:
    """Splits the text of a row into fields."""

    def __init__(self, separator: str, *, quoting: bool, escape: bool) -> None:
        mark = re.escape(separator)
        inner = r'(?:[^"\\]++|\\.|"")*+' if escape else r'(?:[^"]++|"")*+'
        # A blank beside a tab is a letter; after a comma it may be for the eye only.
        blank = "" if separator == "\t" else " *"
        self.separator = separator
        self.quoting = quoting
        self.escape = escape
        self._quoted = re.compile(rf'{blank}"({inner})"{blank}(?={mark}|\Z)', re.DOTALL)
        self._open = re.compile(rf'{blank}"{inner}\Z', re.DOTALL)
        self._goes_on = re.compile(rf"{inner}\Z", re.DOTALL)
        self._closes = re.compile(rf'{inner}"{blank}(?={mark}|\Z)', re.DOTALL)
        bare = rf"(?:[^\\{mark}]++|\\.)*+\\?" if escape else rf"[^{mark}]*"
        self._bare = re.compile(bare, re.DOTALL)
        self._sloppy = re.compile(r'\A"(.*)"\Z', re.DOTALL)

    def is_simple(self, text: str) -> bool:
        """Test that nothing but separators has a meaning in the text."""
        return not (self.quoting and '"' in text) and not (self.escape and "\\" in text)

    def raw(self, text: str) -> list[str]:
        """Every separator parts two fields, every mark is a letter."""
        return text.split(self.separator)

    def split(self, text: str) -> Fields:
        """Quoted fields end where their marks do; not exact if a mark is ill set."""
        if self.is_simple(text):
            return Fields(self.raw(text), exact=True)
        values: list[str] = []
        exact, enclosed, needed, place = True, 0, 0, 0
        while True:
            quoted = self._quoted.match(text, place) if self.quoting else None
            if quoted:
                value = quoted[1]
                special = self.separator in value or '"' in value or "\n" in value
                needed += special
                enclosed += not special
                values.append(self._plain(value.replace('""', '"')))
                place = quoted.end()
            else:
                bare = self._bare.match(text, place)
                value = bare[0] if bare else ""
                place += len(value)
                marks = value.replace('\\"', "") if self.escape else value
                exact = exact and not (self.quoting and '"' in marks)
                values.append(self._plain(self._unmarked(value)))
            if place >= len(text) or text[place] != self.separator:
                return Fields(values, exact, enclosed, needed)
            place += 1

    def loose(self, text: str) -> list[str]:
        """Every separator parts; marks around a whole field go, others are letters."""
        return [self._unmarked(field) for field in self._bare_fields(text)]

    def opens(self, text: str) -> bool:
        """Test that a quoted field begins in the text and does not end in it."""
        if not self.quoting or '"' not in text:
            return self.escape and _odd_backslashes(text)
        place = 0
        while place <= len(text):
            quoted = self._quoted.match(text, place)
            if quoted is None and self._open.match(text, place):
                return True
            found = quoted or self._bare.match(text, place)
            place = (found.end() if found else place) + 1
        return self.escape and _odd_backslashes(text)

    def goes_on(self, line: str) -> bool:
        """Test that a quoted field that is open before the line is open after it."""
        return self._goes_on.match(line) is not None

    def closes(self, line: str) -> bool:
        """Test that a quoted field that is open before the line ends in it."""
        return self._closes.match(line) is not None

    def _unmarked(self, field: str) -> str:
        return self._sloppy.sub(r"\1", field) if self.quoting else field

    def _bare_fields(self, text: str) -> list[str]:
        if not (self.escape and "\\" in text):
            return self.raw(text)
        found, place = [], 0
        while True:
            bare = self._bare.match(text, place)
            value = bare[0] if bare else ""
            found.append(self._plain(value))
            place += len(value)
            if place >= len(text):
                return found
            place += 1

    def _plain(self, value: str) -> str:
        if not (self.escape and "\\" in value):
            return value
        return re.sub(r"\\(.)", self._letter, value, flags=re.DOTALL)

    def _letter(self, found: re.Match[str]) -> str:
        letter = found[1]
        if letter in (self.separator, '"', "\\", "\n", "\r", "'"):
            return letter
        return _ESCAPED.get(letter, found[0])


def records(
    lines: Iterator[tuple[int, bytes]], splitter: Splitter, width: int, tally: Tally
) -> Iterator[Record]:
    """Read lines as rows of ``width`` fields.

    Args:
        lines: with their numbers, blank ones too, with their ends.
        splitter: the dialect.
        width: fields of the header.
        tally: is added to.

    Returns:
        Every row but blank ones and repeated line ends; ``width`` fields each.
    """
    return _without_halves(_Reader(lines, splitter, width, tally).read(), width)


class _Reader:
    """Joins and splits lines, with as many in hand as a quoted field may need."""

    def __init__(
        self,
        lines: Iterator[tuple[int, bytes]],
        splitter: Splitter,
        width: int,
        tally: Tally,
    ) -> None:
        self._lines = lines
        self._ahead: deque[tuple[int, str | None, str]] = deque()
        self._splitter = splitter
        self._width = width
        self._tally = tally
        # No quoted field ends before this line.
        self._barren = 0

    def read(self) -> Iterator[tuple[int, str, list[str], str | None]]:
        while (taken := self._take()) is not None:
            number, line, shown = taken
            if line is None:
                self._tally.faults += 1
                yield number, shown, [], "not UTF-8 text"
                continue
            text = line.rstrip("\n").removesuffix("\r")
            if text and not text.isspace():
                self._tally.records += 1
                yield self._row(number, line, text)

    def _row(
        self, number: int, line: str, text: str
    ) -> tuple[int, str, list[str], str | None]:
        splitter = self._splitter
        if splitter.is_simple(text):
            return number, text, *self._sized(splitter.raw(text))
        fields = splitter.split(text)
        if fields.exact and self._fits(fields.values):
            return number, text, *self._accept(fields)
        joined = self._join(number, line, text)
        if joined is not None:
            return number, *joined
        cut = splitter.quoting and splitter.separator != "\t"
        if cut and self._peek(0) is None and splitter.opens(text):
            self._tally.faults += 1
            return number, text, fields.values, "a quoted field that does not end"
        for values in (fields.values, splitter.loose(text), splitter.raw(text)):
            if self._fits(values):
                self._tally.strays += not fields.exact
                return number, text, *self._sized(values)
        return number, text, *self._sized(fields.values)

    def _join(
        self, number: int, line: str, text: str
    ) -> tuple[str, list[str], str | None] | None:
        """The row that begins in a line and ends in a later one, if there is any."""
        if number < self._barren or not self._splitter.opens(text):
            return None
        pieces, letters, place, inside = [line], len(line), 0, True
        quoted = self._splitter.quoting and '"' in text
        while letters < LARGEST_RECORD:
            following = self._peek(place)
            if following is None or following[1] is None:
                break
            later = following[1]
            place += 1
            pieces.append(later)
            letters += len(later)
            bare = later.rstrip("\n").removesuffix("\r")
            if quoted and self._splitter.goes_on(bare):
                continue
            inside = False
            if quoted and not self._splitter.closes(bare):
                break
            whole = "".join(pieces).rstrip("\n").removesuffix("\r")
            fields = self._splitter.split(whole)
            if fields.exact and self._fits(fields.values):
                if self._are_rows(pieces):
                    return None
                for _ in range(place):
                    self._ahead.popleft()
                return whole, *self._accept(fields)
            if not self._splitter.opens(whole):
                break
            inside = True
        if inside:
            self._barren = number + place
        return None

    def _are_rows(self, pieces: Sequence[str]) -> bool:
        """Test that every line of a quoted field would be a row by itself."""
        prose = self._splitter.separator == "," and len(pieces) <= _LINES_OF_PROSE
        if self._width < 2 or (self._width == 2 and prose):  # noqa: PLR2004
            return False
        for piece in pieces:
            text = piece.rstrip("\n").removesuffix("\r")
            ways = (self._splitter.split(text).values, self._splitter.loose(text))
            if not any(len(values) == self._width for values in ways):
                return False
        return True

    def _accept(self, fields: Fields) -> tuple[list[str], str | None]:
        self._tally.enclosed += fields.enclosed
        self._tally.needed += fields.needed
        return self._sized(fields.values)

    def _fits(self, values: Sequence[str]) -> bool:
        return len(values) >= self._width and not any(values[self._width :])

    def _sized(self, values: list[str]) -> tuple[list[str], str | None]:
        """No more fields than the header has, or what is wrong with them."""
        if len(values) == self._width:
            return values, None
        self._tally.faults += 1
        if len(values) < self._width:
            return values, None
        fault = (
            f"more than {self._width} fields" if any(values[self._width :]) else None
        )
        return values[: self._width], fault

    def _take(self) -> tuple[int, str | None, str] | None:
        return self._ahead.popleft() if self._ahead else self._next()

    def _peek(self, place: int) -> tuple[int, str | None, str] | None:
        while len(self._ahead) <= place:
            following = self._next()
            if following is None:
                return None
            self._ahead.append(following)
        return self._ahead[place]

    def _next(self) -> tuple[int, str | None, str] | None:
        number, raw = next(self._lines, (0, b""))
        if not number:
            return None
        try:
            return number, raw.decode("utf-8"), ""
        except UnicodeDecodeError:
            return number, None, raw.decode("utf-8", errors="replace").rstrip()


def _without_halves(
    rows: Iterator[tuple[int, str, list[str], str | None]], width: int
) -> Iterator[Record]:
    """Set aside neighbours that a line break inside a field has torn apart.

    They have too few fields each, and together, with the torn one counted once, as
    many as the header.
    """
    short: list[tuple[int, str, list[str], str | None]] = []
    for row in rows:
        if len(row[2]) < width and row[3] is None and len(short) < _MOST_HALVES:
            short.append(row)
            continue
        yield from _marked(short, width)
        short = []
        yield _filled(row, width)
    yield from _marked(short, width)


def _marked(
    short: Sequence[tuple[int, str, list[str], str | None]], width: int
) -> Iterator[Record]:
    first = 0
    while first < len(short):
        last, fields = first, len(short[first][2])
        while fields < width and last + 1 < len(short):
            last += 1
            fields += len(short[last][2]) - 1
        torn = fields == width and last > first
        stop = last + 1 if torn else first + 1
        fault = f"fewer than {width} fields, torn by a line break" if torn else None
        for number, text, values, _ in short[first:stop]:
            yield _filled((number, text, values, fault), width)
        first = stop


def _filled(
    row: tuple[int, str, Sequence[str | None], str | None], width: int
) -> Record:
    number, text, values, fault = row
    if len(values) != width:
        # A row that is none may have more.
        values = [*values[:width], *[None] * (width - len(values))]
    return number, text, values, fault


def _odd_backslashes(text: str) -> bool:
    return (len(text) - len(text.rstrip("\\"))) % 2 == 1
