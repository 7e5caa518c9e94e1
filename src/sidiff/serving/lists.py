"""The answers of a recommender: lists of items, and how each came about.

Symbols: U users, N items, k places, L digits, R runners-up.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple, overload

import numpy as np
import polars as pl
from numpy.typing import NDArray

POPULAR = "popular"
"""The method of lists for users without a known item."""


@dataclass(frozen=True)
class Likely:
    """A code and its probability."""

    code: int
    probability: float


@dataclass(frozen=True)
class Step:
    """One step of the denoising of an item.

    Attributes:
        digit: which one was filled, from 0.
        code: what it was filled with.
        probability: of that code when it was filled.
        likeliest: codes of this digit at that moment, best first.
    """

    digit: int
    code: int
    probability: float
    likeliest: tuple[Likely, ...]


@dataclass(frozen=True)
class Item:
    """One place of a list.

    Attributes:
        item_id: as the shop calls it.
        title: None where unknown.
        semantic_id: its codes, ``12-7-250-3``.
        score: comparable within the list: a log-probability, or a cosine (``similar``).
        chain: the part of its odds that would be missing without the Markov chain, 0
            to 1; None where the method knows no chain.
        steps: how the network denoises it; None where that was not asked for.
    """

    item_id: str
    title: str | None
    semantic_id: str
    score: float
    chain: float | None = None
    steps: tuple[Step, ...] | None = None


@dataclass(frozen=True)
class UserList(Sequence[Item]):
    """The list of one user, best first.

    Attributes:
        items: its places.
        method: the decoder; ``popular`` where the history has no known item, or
            ``similar``.
        filled_up: whether a search found fewer items than asked for, and one-pass
            scores gave the rest.
        unknown: ids of the history that the catalogue does not know, as often as given.
    """

    items: tuple[Item, ...]
    method: str
    filled_up: bool
    unknown: tuple[str, ...]

    @overload
    def __getitem__(self, place: int) -> Item: ...

    @overload
    def __getitem__(self, place: slice) -> tuple[Item, ...]: ...

    def __getitem__(self, place: int | slice) -> Item | tuple[Item, ...]:
        """The item at a place, counted from 0."""
        return self.items[place]

    def __len__(self) -> int:
        return len(self.items)


@dataclass(frozen=True, eq=False)
class Shelf:
    """The names of the catalogue's items; series of N texts.

    Attributes:
        item_ids: as the shop calls them.
        titles: null where unknown.
        semantic_ids: their codes.
    """

    item_ids: pl.Series
    titles: pl.Series
    semantic_ids: pl.Series

    def items(
        self,
        rows: NDArray[np.int64],
        scores: NDArray[np.float32],
        chain: NDArray[np.float32] | None = None,
        steps: Sequence[tuple[Step, ...]] | None = None,
    ) -> tuple[Item, ...]:
        """The places of one list; all arguments have a value for each."""
        nothing = [None] * len(rows)
        parts = zip(
            rows.tolist(),
            scores.tolist(),
            nothing if chain is None else chain.tolist(),
            nothing if steps is None else steps,
            strict=True,
        )
        return tuple(Item(*self._names[row], *others) for row, *others in parts)

    @cached_property
    def _names(self) -> list[tuple[str, str | None, str]]:
        """Id, title and semantic ID of every item, at hand for single lists."""
        return list(zip(self.item_ids, self.titles, self.semantic_ids, strict=True))


class Paths(NamedTuple):
    """The denoising of every item of every list, ``(U, k, L)`` or ``(U, k, L, R)``.

    Arrays as ``sidiff.decoding.trace.Trace`` has them.
    """

    digits: NDArray[np.int64]
    filled: NDArray[np.int64]
    log_p: NDArray[np.float32]
    codes: NDArray[np.int64]
    codes_log_p: NDArray[np.float32]

    @classmethod
    def empty(cls, shape: tuple[int, int, int], runners_up: int) -> Paths:
        """Room for as many, ``shape`` (U, k, L)."""
        more, number = (*shape, runners_up), np.float32
        return cls(
            np.zeros(shape, dtype=np.int64),
            np.zeros(shape, dtype=np.int64),
            np.zeros(shape, dtype=number),
            np.zeros(more, dtype=np.int64),
            np.zeros(more, dtype=number),
        )

    def steps(self, user: int, place: int) -> tuple[Step, ...]:
        """The steps to the item at one place of a user's list."""
        digits, filled, log_p, codes, codes_log_p = (part[user, place] for part in self)
        return tuple(
            Step(digit, code, p, tuple(map(Likely, *likeliest)))
            for digit, code, p, *likeliest in zip(
                digits.tolist(),
                filled.tolist(),
                np.exp(log_p).tolist(),
                codes.tolist(),
                np.exp(codes_log_p).tolist(),
                strict=True,
            )
        )


@dataclass(frozen=True, eq=False)
class Lists(Sequence[UserList]):
    """The lists of many users, in arrays.

    Attributes:
        shelf: how items are called.
        items: item indices ``(U, k)``, -1 at an empty place.
        scores: ``(U, k)``, -inf there.
        chain: the Markov chain's part of the odds ``(U, k)``; None where the method
            knows none.
        method: the decoder of all lists but the popular ones.
        popular: users without a known item ``(U,)``.
        filled_up: users whose search found too few items ``(U,)``.
        unknown: ids that the catalogue does not know, user by user.
        unknown_users: whose, ascending.
        paths: how items are denoised; None where that was not asked for.
    """

    shelf: Shelf
    items: NDArray[np.int64]
    scores: NDArray[np.float32]
    chain: NDArray[np.float32] | None
    method: str
    popular: NDArray[np.bool_]
    filled_up: NDArray[np.bool_]
    unknown: list[str]
    unknown_users: NDArray[np.int64]
    paths: Paths | None = None

    @overload
    def __getitem__(self, user: int) -> UserList: ...

    @overload
    def __getitem__(self, user: slice) -> tuple[UserList, ...]: ...

    def __getitem__(self, user: int | slice) -> UserList | tuple[UserList, ...]:
        """The list of the user in row ``user`` of the call."""
        if isinstance(user, slice):
            return tuple(self[row] for row in range(*user.indices(len(self))))
        row = range(len(self))[user]
        size = int((self.items[row] >= 0).sum())
        popular, paths = bool(self.popular[row]), self.paths
        # The network had no part in a popular list.
        chain = None if self.chain is None or popular else self.chain[row, :size]
        steps = None
        if paths is not None and not popular:
            steps = [paths.steps(row, place) for place in range(size)]
        first, last = np.searchsorted(self.unknown_users, [row, row + 1])
        return UserList(
            self.shelf.items(
                self.items[row, :size], self.scores[row, :size], chain, steps
            ),
            POPULAR if popular else self.method,
            bool(self.filled_up[row]),
            tuple(self.unknown[first:last]),
        )

    def __len__(self) -> int:
        return len(self.items)

    def to_frame(self, user_ids: pl.Series) -> pl.DataFrame:
        """A row per place: user_id, rank (from 1), item_id, score, semantic_id, method.

        Args:
            user_ids: of the users, in the order of the call ``(U,)``.
        """
        user, place = np.nonzero(self.items >= 0)
        item = self.items[user, place]
        methods = pl.Series([self.method, POPULAR])
        return pl.DataFrame(
            {
                "user_id": user_ids.gather(user),
                "rank": (place + 1).astype(np.int32),
                "item_id": self.shelf.item_ids.gather(item),
                "score": self.scores[user, place],
                "semantic_id": self.shelf.semantic_ids.gather(item),
                "method": methods.gather(self.popular[user].astype(np.int64)),
            }
        )
