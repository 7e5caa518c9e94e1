"""The protocol of rankers, and their lists.

Symbols: B users of a batch, E excluded items, k places of a list.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Protocol

from torch import Tensor

from sidiff.diffusion.histories import HistoryBatch


@dataclass(frozen=True)
class Lists:
    """The lists of a batch of users, best first.

    Attributes:
        items: item indices ``(B, k)`` int64, -1 at an empty place.
        scores: ``(B, k)``, comparable within a list; -inf at an empty place.
        sids: rows of distinct SIDs ``(B, k)``, -1 at an empty place.
        denoiser_calls: denoiser passes per user, mean over the users.
        distinct_states: share of distinct states among those denoised.
        valid_share: share of decoded SIDs that belong to an item.
        completed: users whose search found fewer than k items, so that one-pass scores
            filled the list up, ``(B,)`` bool; None without a search.
        transitions: share of each item's odds that transitions add ``(B, k)``, 0 to
            1; None for a method without them. Undefined at an empty place.
    """

    items: Tensor
    scores: Tensor
    sids: Tensor
    denoiser_calls: float = 0.0
    distinct_states: float = 1.0
    valid_share: float = 1.0
    completed: Tensor | None = None
    transitions: Tensor | None = None

    def first(self, users: int) -> Lists:
        """The lists of the first users of the batch."""
        parts: dict[str, Any] = {
            name: part[:users]
            for name, part in vars(self).items()
            if isinstance(part, Tensor)
        }
        return replace(self, **parts)


class Ranker(Protocol):
    """A method that ranks the items of its catalogue for any users."""

    def rank(self, batch: HistoryBatch, excluded: Tensor, k: int) -> Lists:
        """Rank items for a batch of users.

        Items of equal score are ordered by training popularity, then index. A list has
        empty places only where no more items are allowed, or where a search without
        constraint found fewer.

        Args:
            batch: the users' histories.
            excluded: item indices to leave out, -1 for none, ``(B, E)``.
            k: length of the lists.
        """
