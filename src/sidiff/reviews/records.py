"""Lines of delimited text to rows, one by one, by the rules of ``delimited``."""

from __future__ import annotations

import re
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from sidiff.reviews.splitter import Fields, Splitter

LARGEST_RECORD = 2**24
"""Characters of a row of many lines, beyond which its first mark is a letter."""
_MOST_HALVES = 50
# With commas between two fields, so few lines of prose may look like rows.
_LINES_OF_PROSE = 3

# Of a column: hardly any letter (numbers, times), no blank inside, none at the
# beginning, anything.
_SHAPES = tuple(
    re.compile(pattern) for pattern in (r"[^A-SU-Y_a-z]*\Z", r"\S*\Z", r"(?!\s)", "")
)
_FEWEST_ROWS, _SHARE_OF_SHAPE, _SHARE_OF_SHORT, _SHARE_OF_ROWS = 3, 0.9, 0.02, 2 / 3

Record = tuple[int, str, Sequence[str | None], str | None]
"""Number of its first line, the text, the fields (None where missing), the fault."""
_Row = tuple[int, str, list[str], str | None]
_Line = tuple[int, str | None, str]


@dataclass
class Tally:
    """Evidence in a reading of a file for and against its dialect.

    Attributes:
        records: rows read, good or not.
        faults: rows with another number of fields than the header.
        strays: rows with a quotation mark that is a letter.
        enclosed: quoted fields that hold nothing that needs it.
        needed: quoted fields that hold a separator, a mark or a line break.
        texts: quoted fields of several lines that are no rows.
        rows: of lines that look like rows.
    """

    records: int = 0
    faults: int = 0
    strays: int = 0
    enclosed: int = 0
    needed: int = 0
    texts: int = 0
    rows: int = 0


@dataclass(frozen=True)
class Habits:
    """What most rows of a file have in common, told from its first ones.

    Attributes:
        width: fields of the header.
        spare: separators at the end of rows that the header has not, with nothing
            behind.
        short: empty fields at the end are left out with their separators.
        shapes: a pattern for each column, which hardly any value of it breaks.
        texts: a quoted field of several lines is one, whatever they look like.
    """

    width: int
    spare: int = 0
    short: bool = False
    shapes: tuple[re.Pattern[str], ...] = ()
    texts: bool = False

    @classmethod
    def of(cls, rows: Sequence[Sequence[str]], width: int) -> Habits:
        """Tell them from the fields of some rows."""
        beyond = Counter(len(row) - width for row in rows if not any(row[width:]))
        spare, many = max(beyond.items(), key=lambda one: one[1], default=(0, 0))
        spare = max(0, spare) if 2 * many > len(rows) else 0
        whole = [row[:width] for row in rows if len(row) in (width, width + spare)]
        known = len(whole) >= _FEWEST_ROWS
        shapes = tuple(map(_shape, zip(*whole, strict=True))) if known else ()
        habits = cls(width, spare, shapes=shapes)
        # Of few whole rows nothing is known, but for what all rows have in common.
        told = known or len({len(row) for row in rows}) == 1
        # A torn row leaves neighbours, of which one may have a single field.
        grouped = groupby(rows, lambda row: len(row) < width)
        runs = [list(run) for few, run in grouped if few]
        short = sum(
            sum(map(habits.fill, run))
            for run in runs
            if not _is_torn([len(row) for row in run], width)
        )
        return replace(
            habits, short=told and short > max(1, _SHARE_OF_SHORT * len(rows))
        )

    def fit(self, values: Sequence[str]) -> bool:
        """Test that fields are a whole row, but for a habit."""
        beyond = len(values) - self.width
        if beyond <= 0 or any(values[self.width :]):
            return not beyond
        known = bool(self.shapes) and not self.spare
        return beyond == self.spare or (known and self._of_shape(values))

    def fill(self, values: Sequence[str]) -> bool:
        """Test that fields may be a row whose last ones were left out."""
        # A row of one field is rather a piece of a text, or a remark.
        return 1 < len(values) < self.width and self._of_shape(values)

    def looks_like_row(self, values: Sequence[str]) -> bool:
        """Test that there are as many fields as names, each of its column's shape.

        A field with a quotation mark, whose meaning is asked, may have any.
        """
        return len(values) == self.width and self._of_shape(values)

    def _of_shape(self, values: Sequence[str]) -> bool:
        shapes = zip(self.shapes, values, strict=False)
        return all('"' in value or shape.match(value) for shape, value in shapes)


def _is_torn(lengths: Sequence[int], width: int) -> bool:
    """Test that neighbours with so many fields may be one row that was torn."""
    return len(lengths) > 1 and sum(lengths) - len(lengths) + 1 == width


def _shape(values: Sequence[str]) -> re.Pattern[str]:
    """The narrowest pattern that nearly all values have."""
    for shape in _SHAPES[:-1]:
        if sum(map(bool, map(shape.match, values))) >= _SHARE_OF_SHAPE * len(values):
            return shape
    return _SHAPES[-1]


def records(
    lines: Iterator[tuple[int, bytes]],
    splitter: Splitter,
    habits: Habits,
    tally: Tally,
) -> Iterator[Record]:
    """Every row of numbered lines but blank ones, of ``habits.width`` fields each.

    The lines have their ends, blank ones are among them; ``tally`` is added to.
    """
    return _without_halves(_Reader(lines, splitter, habits, tally).read(), habits)


class _Reader:
    """Joins and splits lines, with as many in hand as a quoted field may need."""

    def __init__(
        self,
        lines: Iterator[tuple[int, bytes]],
        splitter: Splitter,
        habits: Habits,
        tally: Tally,
    ) -> None:
        self._lines = lines
        self._ahead: deque[_Line] = deque()
        self._splitter = splitter
        self._habits = habits
        self._width = habits.width
        # Of nothing but these a line is blank.
        self._blanks = f"\r\n{splitter.separator}"
        self._tally = tally
        # No quoted field ends before this line.
        self._barren = 0

    def read(self) -> Iterator[_Row]:
        while (taken := self._take()) is not None:
            number, line, shown = taken
            if line is None:
                self._tally.faults += 1
                yield number, shown, [], "not UTF-8 text"
                continue
            text = _bare(line)
            if text.strip(self._blanks) and not text.isspace():
                self._tally.records += 1
                yield self._row(number, line, text)

    def _row(self, number: int, line: str, text: str) -> _Row:
        splitter = self._splitter
        if splitter.is_simple(text):
            return number, text, *self._sized(splitter.raw(text))
        fields = splitter.split(text)
        if fields.exact and self._habits.fit(fields.values):
            return number, text, *self._accept(fields)
        joined = self._join(number, line, text)
        if joined is not None:
            return number, *joined
        cut = splitter.quoting and splitter.separator != "\t"
        if cut and self._peek(0) is None and splitter.opens(text):
            self._tally.faults += 1
            return number, text, fields.values, "a quoted field that does not end"
        for values in (fields.values, splitter.loose(text), splitter.raw(text)):
            if self._habits.fit(values):
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
            bare = _bare(later)
            if quoted and self._splitter.goes_on(bare):
                continue
            inside = False
            if quoted and not self._splitter.closes(bare):
                break
            whole = _bare("".join(pieces))
            fields = self._splitter.split(whole)
            if fields.exact and self._habits.fit(fields.values):
                if self._are_rows(pieces):
                    self._tally.rows += 1
                    return None
                self._tally.texts += 1
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
        """Test that most lines of a quoted field would be rows by themselves."""
        prose = self._splitter.separator == "," and len(pieces) <= _LINES_OF_PROSE
        split, raw = self._splitter.split, self._splitter.raw
        few = self._width < 2 or (self._width == 2 and prose)  # noqa: PLR2004
        if few or self._habits.texts:
            return False
        lines = map(_bare, pieces)
        full = [line for line in lines if line.strip(self._blanks)]
        rows = [
            any(map(self._habits.looks_like_row, (split(line).values, raw(line))))
            for line in full
        ]
        # Between two stray marks there may be a row that is none for another reason.
        return rows[0] and rows[-1] and sum(rows) >= _SHARE_OF_ROWS * len(rows)

    def _accept(self, fields: Fields) -> tuple[list[str], str | None]:
        self._tally.enclosed += fields.enclosed
        self._tally.needed += fields.needed
        return self._sized(fields.values)

    def _sized(self, values: list[str]) -> tuple[list[str], str | None]:
        """No more fields than the header has, or what is wrong with them."""
        if len(values) == self._width:
            return values, None
        self._tally.faults += 1
        if len(values) < self._width:
            return values, None
        fits = self._habits.fit(values)
        fault = None if fits else f"more than {self._width} fields"
        return values[: self._width], fault

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
        try:
            return number, raw.decode("utf-8"), ""
        except UnicodeDecodeError:
            return number, None, raw.decode("utf-8", errors="replace").rstrip()


def _bare(line: str) -> str:
    return line.rstrip("\n").removesuffix("\r")


def _without_halves(rows: Iterator[_Row], habits: Habits) -> Iterator[Record]:
    """Set aside neighbours that a line break inside a field has torn apart.

    They have too few fields each, and together, with the torn one counted once, as
    many as the header.
    """
    short: list[_Row] = []
    for row in rows:
        few = len(row[2]) < habits.width and row[3] is None
        if not few or len(short) == _MOST_HALVES:
            yield from _marked(short, habits)
            short = []
        if few:
            short.append(row)
        else:
            yield _filled(row, habits.width)
    yield from _marked(short, habits)


def _marked(short: Sequence[_Row], habits: Habits) -> Iterator[Record]:
    width = habits.width
    first = 0
    while first < len(short):
        last, fields = first, len(short[first][2])
        filled = _is_left_out(short, first, habits)
        while not filled and fields < width and last + 1 < len(short):
            last += 1
            fields += len(short[last][2]) - 1
        torn = fields == width and last > first
        stop = last + 1 if torn else first + 1
        fault = None if filled else f"fewer than {width} fields"
        fault = f"{fault}, torn by a line break" if torn else fault
        for number, text, values, _ in short[first:stop]:
            yield _filled((number, text, values, fault), width)
        first = stop


def _is_left_out(short: Sequence[_Row], place: int, habits: Habits) -> bool:
    """Test that a short row lacks its last fields, as most do or its neighbours."""
    pair = [len(row[2]) for row in short[place : place + 2]]
    around = {len(row[2]) for row in short[max(0, place - 2) : place + 3]}
    usual = habits.short or (len(around) == 1 and len(short) >= _FEWEST_ROWS)
    torn = len(set(pair)) > 1 and _is_torn(pair, habits.width)
    return usual and not torn and habits.fill(short[place][2])


def _filled(row: Record, width: int) -> Record:
    number, text, values, fault = row
    # A row that is none may have more.
    values = [*values[:width], *[None] * (width - len(values))]
    return number, text, values, fault
