"""What the table of wrong things is made of."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from .stored_shops import StoredShop


@dataclass(frozen=True)
class Place:
    """Where a case goes wrong: a project, an empty folder, what two runs stored."""

    project: Path
    folder: Path
    shop: StoredShop
    other: StoredShop

    def file(self, name: str, content: bytes = b"") -> Path:
        path = self.folder / name
        path.write_bytes(content)
        return path


@dataclass(frozen=True)
class Case:
    """One wrong thing, and what the sentence about it must say."""

    name: str
    spoil: Callable[[Place], object]
    words: Sequence[str] | Callable[[Place], Sequence[str]]

    def expected(self, place: Place) -> Sequence[str]:
        return self.words(place) if callable(self.words) else self.words


_INTERNAL = (
    "pydantic",
    "type=",
    "input should",
    "Input should",
    "constrained-",
    "literal[",
    "Traceback",
    "Error(",
    "Errno",
    "None",
    "object at 0x",
)


def assert_one_sentence(text: str) -> None:
    """One line, one full stop, nothing of Python's insides."""
    assert text.endswith("."), text
    assert "\n" not in text
    # A name in a sentence may hold dots, and a clause may come after a semicolon.
    assert not re.search(r"[.!?] +[A-Z]", text), text
    assert len(text) < 1000, text
    for word in _INTERNAL:
        assert word not in text, (word, text)
