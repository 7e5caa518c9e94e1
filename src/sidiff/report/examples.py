"""Lists of single users and codes of single items, for a reader."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

SHOWN = 5
"""Items of a history, and of a list."""


@dataclass(frozen=True)
class Example:
    """The last items of a history, the first of its list, and the target, as titles."""

    history: list[str]
    listed: list[str]
    target: str


def choose_examples(
    results: pl.DataFrame, sequences: pl.DataFrame, titles: list[str], each: int
) -> tuple[list[Example], list[Example]]:
    """Return users whose target came first, and users whose list lacks it.

    They are spread evenly over the test users instead of being picked.

    Args:
        results: user (row of ``sequences``), target and items (array of their
            indices, -1 after the end of a short list), of one method and seed.
        sequences: items (indices, oldest first) of every user.
        titles: of every item, ``(N,)``.
        each: how many of either kind.
    """
    listed = results["items"].to_numpy()
    hits = listed == results["target"].to_numpy()[:, None]

    def example(row: int) -> Example:
        history = sequences["items"][int(results["user"][row])].to_list()[:-1]
        return Example(
            [titles[item] for item in history[-SHOWN:]],
            [titles[item] for item in listed[row, :SHOWN] if item >= 0],
            titles[int(results["target"][row])],
        )

    return (
        [example(row) for row in _spread(hits[:, 0], each)],
        [example(row) for row in _spread(~hits.any(1), each)],
    )


def _spread(chosen: NDArray[np.bool_], number: int) -> list[int]:
    """Up to ``number`` of the chosen rows, from the middle of as many equal parts."""
    rows = chosen.nonzero()[0]
    number = min(number, len(rows))
    places = (np.arange(number) + 0.5) * len(rows) / max(number, 1)
    return rows[places.astype(np.int64)].tolist()


@dataclass(frozen=True)
class Neighbour:
    """An item near another one: its title, codes, and which of them are the same."""

    title: str
    codes: list[int]
    same: list[bool]


def neighbours(
    codes: NDArray[np.integer], titles: list[str], sequences: pl.DataFrame, number: int
) -> list[Neighbour]:
    """Return the most frequent item, then those that share most digits with it.

    Args:
        codes: of every item, ``(N, L)``.
        titles: of every item, ``(N,)``.
        sequences: items (indices) of every user.
        number: how many beyond the first.
    """
    item = int(sequences["items"].explode().mode().sort()[0])
    same = codes == codes[item]
    order = np.argsort(-same.sum(1), kind="stable")
    chosen = [item, *(row for row in order if row != item)][: number + 1]
    return [
        Neighbour(titles[row], codes[row].tolist(), same[row].tolist())
        for row in chosen
    ]


def titles_of(catalogue: pl.DataFrame) -> list[str]:
    """Title of every item by index; its id where it has none."""
    titles: list[str] = (
        catalogue.sort("item_index")
        .select(pl.coalesce(pl.col("title"), pl.col("item_id").cast(pl.String)))
        .to_series()
        .to_list()
    )
    return titles
