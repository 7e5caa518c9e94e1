"""Lists of single users for a reader: some that hit, some that missed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

SHOWN = 5
"""Items of a history, and of a list."""


@dataclass(frozen=True)
class Example:
    """One user's history, list and target, as titles.

    Attributes:
        earlier: number of items before those of ``history``.
        history: the last items before the target, oldest first.
        listed: the first recommended items, best first.
        target: what the user took next.
        hit: whether the target is the first recommended item.
    """

    earlier: int
    history: list[str]
    listed: list[str]
    target: str
    hit: bool


def choose_examples(
    results: pl.DataFrame, sequences: pl.DataFrame, titles: list[str], each: int
) -> tuple[list[Example], list[Example]]:
    """Return users whose target came first, and users whose target is missing.

    They are spread evenly over the test users, and not picked by how they look.

    Args:
        results: user (row of ``sequences``), target and items (array of their
            indices), of one method and seed.
        sequences: items (indices, oldest first) of every user.
        titles: of every item, ``(N,)``.
        each: how many of either kind.
    """
    listed = results["items"].to_numpy()
    hits = listed == results["target"].to_numpy()[:, None]

    def example(row: int, *, hit: bool) -> Example:
        history = sequences["items"][int(results["user"][row])].to_list()[:-1]
        return Example(
            max(0, len(history) - SHOWN),
            [titles[item] for item in history[-SHOWN:]],
            [titles[item] for item in listed[row, :SHOWN]],
            titles[int(results["target"][row])],
            hit,
        )

    return (
        [example(row, hit=True) for row in _spread(hits[:, 0], each)],
        [example(row, hit=False) for row in _spread(~hits.any(1), each)],
    )


def _spread(chosen: NDArray[np.bool_], number: int) -> list[int]:
    """Up to ``number`` of the chosen rows, from the middle of as many equal parts."""
    rows = chosen.nonzero()[0]
    number = min(number, len(rows))
    places = (np.arange(number) + 0.5) * len(rows) / max(number, 1)
    return rows[places.astype(np.int64)].tolist()


@dataclass(frozen=True)
class Neighbour:
    """An item beside another one: its title, codes, and which of them are the same."""

    title: str
    codes: list[int]
    same: list[bool]


def neighbours(
    codes: NDArray[np.integer], titles: list[str], item: int, number: int
) -> list[Neighbour]:
    """Return an item, then those that share most digits with it.

    Args:
        codes: of every item, ``(N, L)``.
        titles: of every item, ``(N,)``.
        item: whose neighbours.
        number: how many.
    """
    same = codes == codes[item]
    order = np.argsort(-same.sum(1), kind="stable")
    chosen = [item, *(row for row in order if row != item)][: number + 1]
    return [
        Neighbour(titles[row], codes[row].tolist(), same[row].tolist())
        for row in chosen
    ]
