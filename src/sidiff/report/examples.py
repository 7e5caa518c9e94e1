"""Examples for the report: lists of single users, codes of single items."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

SHOWN = 5
"""Largest number of items shown of a history, and of a list."""


@dataclass(frozen=True)
class Example:
    """Titles of the last items of a history, the first of its list, and the target."""

    history: list[str]
    listed: list[str]
    target: str


def choose_examples(
    results: pl.DataFrame, sequences: pl.DataFrame, titles: list[str], each: int
) -> tuple[list[Example], list[Example]]:
    """Users whose target has the first place, and users whose list lacks it.

    They are spread evenly over the test users.

    Args:
        results: user (row of ``sequences``), target and items (array of their
            indices, -1 after the end of a short list), of one method and seed.
        sequences: items (indices, oldest first) of every user.
        titles: of every item, ``(N,)``.
        each: largest number of users of either kind.
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
    """Up to ``number`` of the chosen rows, spread evenly."""
    rows = chosen.nonzero()[0]
    number = min(number, len(rows))
    places = (np.arange(number) + 0.5) * len(rows) / max(number, 1)
    return rows[places.astype(np.int64)].tolist()


@dataclass(frozen=True)
class Neighbour:
    """A similar item: its title, its codes, and which of them are shared."""

    title: str
    codes: list[int]
    same: list[bool]


def neighbours(
    codes: NDArray[np.integer], titles: list[str], sequences: pl.DataFrame, number: int
) -> list[Neighbour]:
    """The most frequent item, then the items that share most digits with it.

    Args:
        codes: of every item, ``(N, L)``.
        titles: of every item, ``(N,)``.
        sequences: items (indices) of every user.
        number: of items after the first.
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
    """The title of every item by index, or its id if it has none."""
    titles: list[str] = (
        catalogue.sort("item_index")
        .select(pl.coalesce(pl.col("title"), pl.col("item_id").cast(pl.String)))
        .to_series()
        .to_list()
    )
    return titles
