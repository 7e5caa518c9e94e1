"""A row of delimited text to its fields, in one dialect."""

from __future__ import annotations

import re
from dataclasses import dataclass

_ESCAPED = {"n": "\n", "t": "\t", "r": "\r"}


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
        while place <= len(text):
            bare = self._bare.match(text, place)
            value = bare[0] if bare else ""
            found.append(self._plain(value))
            place += len(value) + 1
        return found

    def _plain(self, value: str) -> str:
        if not (self.escape and "\\" in value):
            return value
        return re.sub(r"\\(.)", self._letter, value, flags=re.DOTALL)

    def _letter(self, found: re.Match[str]) -> str:
        letter = found[1]
        if letter in (self.separator, '"', "\\", "\n", "\r", "'"):
            return letter
        return _ESCAPED.get(letter, found[0])


def _odd_backslashes(text: str) -> bool:
    return (len(text) - len(text.rstrip("\\"))) % 2 == 1
