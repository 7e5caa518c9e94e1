"""Meanings of codes: words that their items' titles have more often than others."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import polars as pl
from numpy.typing import NDArray

from sidiff.serving.lists import Shelf

WORDS, ITEMS = 4, 3
"""Words and items that stand for a code."""


@dataclass(frozen=True)
class Meaning:
    """One code of one digit.

    Attributes:
        items: how many have it.
        words: the most typical ones of their titles, first the most typical.
        titles: of some of the items.
    """

    items: int
    words: tuple[str, ...]
    titles: tuple[str, ...]


class Meanings:
    """The codes of a catalogue, in words.

    A word is the more typical of a code the more of its items have it beyond what the
    whole catalogue lets expect: by the items that have it times the log of how much
    more frequent it is among them.
    """

    def __init__(self, shelf: Shelf) -> None:
        """Look at titles when they are asked for."""
        self._titles = shelf.titles
        parts = shelf.semantic_ids.str.split("-").list
        self._codes: NDArray[np.int64] = np.stack(
            [
                parts.get(digit).cast(pl.Int64).to_numpy()
                for digit in range(int(parts.len()[0]))
            ],
            1,
        )

    def of(self, digit: int, code: int) -> Meaning:
        """The meaning of ``code`` at ``digit``."""
        rows = np.flatnonzero(self._codes[:, digit] == code)
        total = len(self._titles)
        here = (
            self._words.filter(pl.col("row").is_in(rows.tolist()))
            .group_by("word")
            .len("here")
            .join(self._frequent, on="word")
            .with_columns(
                typical=pl.col("here")
                * (pl.col("here") / len(rows) * total / pl.col("all")).log()
            )
            .filter(pl.col("typical") > 0)
            .sort(["typical", "word"], descending=[True, False])
        )
        titles = self._titles.gather(rows).drop_nulls().head(ITEMS)
        return Meaning(
            len(rows), tuple(here["word"].head(WORDS)), tuple(titles.to_list())
        )

    @cached_property
    def _words(self) -> pl.DataFrame:
        """A row for every word of every title, each word once."""
        return (
            pl.DataFrame({"word": self._titles})
            .with_row_index("row")
            .select("row", pl.col("word").str.to_lowercase().str.extract_all(r"\w{3,}"))
            .explode("word")
            .drop_nulls()
            .unique(maintain_order=True)
        )

    @cached_property
    def _frequent(self) -> pl.DataFrame:
        return self._words.group_by("word").len("all")
