"""Rows and fields of delimited text; ``delimited`` states the rules."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from sidiff.reviews.lines import LONGEST_LINE, decoded

LONGEST_RECORD = 2**24
"""Characters of the longest row of several lines; beyond, its first mark is stray."""
_SHARE_OF_ROWS = 2 / 3
# With two fields and commas, a few lines of prose may look like rows.
_LINES_OF_PROSE = 3

Record = tuple[int, str, list[str], str | None]
"""Number of the first line, text, fields, and fault (None for a good row)."""
_Line = tuple[int, str, str | None]
_ESCAPED = {"n": "\n", "t": "\t", "r": "\r"}


class Fields(NamedTuple):
    """The fields of a text.

    Attributes:
        values: without quotes and escapes.
        opens: a quoted field begins and does not end.
        strays: a quotation mark neither opens nor closes a quoted field.
    """

    values: list[str]
    opens: bool = False
    strays: bool = False


class Splitter:
    """A splitter of lines into fields; ``escape``: a backslash escapes."""

    def __init__(self, separator: str, *, escape: bool) -> None:
        mark = re.escape(separator)
        inner = r'(?:[^"\\]++|\\.|"")*+' if escape else r'(?:[^"]++|"")*+'
        bare = rf"(?:[^\\{mark}]++|\\.)*+\\?" if escape else rf"[^{mark}]*+"
        # Blanks around a quoted field are not part of it, except between tabs.
        blank = "" if separator == "\t" else " *"
        end = rf'"{blank}(?={mark}|\Z)'
        cut = r"\\?\Z" if escape else r"\Z"
        self.separator = separator
        self._escape = escape
        self._field = re.compile(rf"{blank}\"({inner}){end}|({bare})", re.DOTALL)
        self._open = re.compile(rf'{blank}"{inner}{cut}', re.DOTALL)
        self._inside = re.compile(rf"{inner}(?:({end})|{cut})", re.DOTALL)

    def split(self, text: str) -> Fields:
        """Split at the separators outside quoted fields."""
        quotes = '"' in text
        if not quotes and not (self._escape and "\\" in text):
            return Fields(text.split(self.separator))
        values: list[str] = []
        opens, strays, place = self.continues(text), False, 0
        while place <= len(text) and (found := self._field.match(text, place)):
            quoted, bare = found.groups()
            if quoted is None:
                stray = quotes and '"' in (
                    bare.replace('\\"', "") if self._escape else bare
                )
                strays = strays or stray
                opens = opens or (stray and bool(self._open.match(text, place)))
                values.append(self._plain(_unquoted(bare)))
            else:
                values.append(self._plain(quoted.replace('""', '"')))
            place = found.end() + 1
        return Fields(values, opens, strays)

    def split_everywhere(self, text: str) -> list[str]:
        """Split at every separator; only marks around a whole field are quotes."""
        return [_unquoted(field) for field in text.split(self.separator)]

    def continues(self, text: str) -> bool:
        """Test that the line break after a text is escaped."""
        return self._escape and (len(text) - len(text.rstrip("\\"))) % 2 == 1

    def closes(self, line: str) -> bool | None:
        """Test that an open quoted field ends in this line; None if it is malformed."""
        inside = self._inside.match(line)
        return None if inside is None else inside[1] is not None

    def _plain(self, value: str) -> str:
        if not (self._escape and "\\" in value):
            return value
        return re.sub(r"\\(.)", self._letter, value, flags=re.DOTALL)

    def _letter(self, found: re.Match[str]) -> str:
        letter = found[1]
        if letter in (self.separator, '"', "\\", "\n", "\r", "'"):
            return letter
        return _ESCAPED.get(letter, found[0])


def _unquoted(field: str) -> str:
    enclosed = len(field) > 1 and field[0] == field[-1] == '"'
    return field[1:-1] if enclosed else field


class Records:
    """An iterator over the rows of numbered lines; it skips blank rows.

    Attributes:
        faults: number of faulty rows so far.
        strays: number of rows with a stray quotation mark.
        texts: number of quoted fields of several lines.
        rows: number of such fields that were split, as their lines are rows.
        backslashes: a row has a backslash.
    """

    def __init__(
        self,
        lines: Iterable[tuple[int, bytes]],
        splitter: Splitter,
        width: int,
        numeric: frozenset[int] = frozenset(),
        *,
        keep_texts: bool = False,
    ) -> None:
        """Read ``lines`` with their line ends as rows of ``width`` fields.

        ``numeric`` and ``keep_texts`` are as in ``delimited.Dialect``.
        """
        self.faults = self.strays = self.texts = self.rows = 0
        self.backslashes = False
        self._lines = iter(lines)
        self._ahead: deque[_Line] = deque()
        self._splitter = splitter
        self._width = width
        self._numeric = numeric
        self._keep_texts = keep_texts
        # A line of these characters only is blank.
        self._blanks = f" \t\r\n{splitter.separator}"
        # A quoted field that is open before this line never ends.
        self._endless = 0

    def __iter__(self) -> Iterator[Record]:
        while (taken := self._take()) is not None:
            number, line, fault = taken
            if fault is not None:
                row: Record = number, line, [], fault
            elif line.strip(self._blanks):
                row = self._row(number, line)
            else:
                continue
            self.faults += row[3] is not None
            self.backslashes = self.backslashes or "\\" in row[1]
            yield row

    def _row(self, number: int, line: str) -> Record:
        text = _bare(line)
        fields = self._splitter.split(text)
        if fields.opens:
            joined = self._join(number, line)
            if joined is not None:
                return joined
            # Between tabs, or after other stray marks, this is another stray mark.
            quoting = self._splitter.separator != "\t" and not self.strays
            if quoting and self._peek(0) is None:
                return number, text, [], "a quoted field that does not end"
        self.strays += fields.strays
        values = fields.values
        if len(values) != self._width and '"' in text:
            values = self._splitter.split_everywhere(text)
        if len(values) == self._width:
            return number, text, values, None
        compared = "fewer" if len(fields.values) < self._width else "more"
        return number, text, [], f"{compared} than {self._width} fields"

    def _join(self, number: int, line: str) -> Record | None:
        """Return the row that begins in this line and ends in a later one, or None."""
        if number < self._endless:
            return None
        pieces, letters, place = [line], len(line), 0
        escaped = self._splitter.continues(_bare(line))
        while letters < LONGEST_RECORD:
            following = self._peek(place)
            if following is None or following[2] is not None:
                break
            place += 1
            pieces.append(following[1])
            letters += len(following[1])
            bare = _bare(following[1])
            closed = self._splitter.closes(bare)
            if escaped:
                closed = not self._splitter.continues(bare)
            if closed is None:
                return None
            if not closed:
                continue
            whole = _bare("".join(pieces))
            fields = self._splitter.split(whole)
            if fields.opens:
                escaped = self._splitter.continues(whole)
                continue
            if fields.strays or len(fields.values) != self._width:
                return None
            if self._are_rows(pieces):
                self.rows += 1
                return None
            self.texts += 1
            for _ in range(place):
                self._ahead.popleft()
            return number, whole, fields.values, None
        self._endless = number + place
        return None

    def _are_rows(self, pieces: Sequence[str]) -> bool:
        """Test that most lines of a quoted field would be rows by themselves."""
        prose = self._splitter.separator == "," and len(pieces) <= _LINES_OF_PROSE
        few = self._width < 2 or (self._width == 2 and prose)  # noqa: PLR2004
        if few or self._keep_texts:
            return False
        full = [line for line in map(_bare, pieces) if line.strip(self._blanks)]
        rows = list(map(self._is_row, full))
        # A malformed row may lie between two stray marks.
        return rows[0] and rows[-1] and sum(rows) >= _SHARE_OF_ROWS * len(rows)

    def _is_row(self, line: str) -> bool:
        splitter = self._splitter
        return self._is_alike(splitter.split(line).values) or self._is_alike(
            splitter.split_everywhere(line)
        )

    def _is_alike(self, values: Sequence[str]) -> bool:
        return len(values) == self._width and all(
            values[column].lstrip(' "')[:1].isdigit() for column in self._numeric
        )

    def _take(self) -> _Line | None:
        return self._ahead.popleft() if self._ahead else self._next()

    def _peek(self, place: int) -> _Line | None:
        while len(self._ahead) <= place:
            following = self._next()
            if following is None:
                return None
            self._ahead.append(following)
        return self._ahead[place]

    def _next(self) -> _Line | None:
        number, raw = next(self._lines, (0, b""))
        if not number:
            return None
        text, fault = decoded(raw)
        if fault is not None:
            return number, text.rstrip(), fault
        long = len(raw) > LONGEST_LINE
        return number, text, f"longer than {LONGEST_LINE:,} bytes" if long else None


def _bare(line: str) -> str:
    return line.rstrip("\n").removesuffix("\r")
