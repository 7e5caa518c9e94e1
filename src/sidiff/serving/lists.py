"""Lists of items that a recommender returns, with explanations."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from pydantic import ConfigDict

from sidiff.decoding.trace import Trace

POPULAR = "popular"
"""The method of lists for users without a known item."""

DESCRIBED = ConfigDict(use_attribute_docstrings=True)
"""Docstrings of fields are their descriptions in the server's OpenAPI schema."""


@dataclass(frozen=True)
class CodeProbability:
    """A code and its probability."""

    __pydantic_config__ = DESCRIBED

    code: int
    """A code of the digit."""
    probability: float
    """The network's, 0 to 1."""


@dataclass(frozen=True)
class Step:
    """One step of the denoising of an item."""

    __pydantic_config__ = DESCRIBED

    digit: int
    """The digit that the step fills, from 0."""
    code: int
    """The code of the digit."""
    probability: float
    """The network's probability of that code at this step."""
    likeliest: tuple[CodeProbability, ...]
    """The likeliest codes of the digit at this step, best first."""


@dataclass(frozen=True)
class Item:
    """One place of a list."""

    __pydantic_config__ = DESCRIBED

    item_id: str
    """Id of the item in the catalogue."""
    title: str | None
    """Its title; null where unknown."""
    semantic_id: str
    """Its codes, digit by digit: 12-7-250-3."""
    score: float
    """Comparable within the list: a log-probability, or a cosine (similar items)."""
    transitions: float | None = None
    """Share of its odds that transitions add, 0 to 1; for items_markov only."""
    steps: tuple[Step, ...] | None = None
    """The steps of the item's denoising; only with explain."""


@dataclass(frozen=True)
class UserList:
    """The list of one user, best first."""

    __pydantic_config__ = DESCRIBED

    items: tuple[Item, ...]
    """The items, best first."""
    method: str
    """The decoder; popular for a history without a known item."""
    filled_up: bool
    """Whether a search found too few items, so that one-pass scores filled up."""
    unknown: tuple[str, ...]
    """Ids of the history that are not in the catalogue, with repeats."""

    def __getitem__(self, place: int) -> Item:
        """The item at a place, counted from 0."""
        return self.items[place]

    def __iter__(self) -> Iterator[Item]:
        return iter(self.items)

    def __len__(self) -> int:
        return len(self.items)


def steps_of(trace: Trace) -> list[list[tuple[Step, ...]]]:
    """The denoising steps of each SID of each user of a trace."""
    digits, filled, log_p, codes, codes_log_p = (part.cpu().numpy() for part in trace)
    arrays = (digits, filled, np.exp(log_p), codes, np.exp(codes_log_p))
    return [
        [
            tuple(
                Step(digit, code, p, tuple(map(CodeProbability, *likeliest)))
                for digit, code, p, *likeliest in zip(*sid, strict=True)
            )
            for sid in zip(*user, strict=True)
        ]
        for user in zip(*(array.tolist() for array in arrays), strict=True)
    ]
