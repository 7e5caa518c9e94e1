"""The protocol of every method that ranks items, and what it returns.

Symbols: B users of a batch, E excluded items, k places of a list.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from sidiff.diffusion.histories import HistoryBatch


@dataclass(frozen=True)
class Lists:
    """The lists of a batch of users, best first.

    Attributes:
        items: item indices ``(B, k)`` int64, -1 at an empty place.
        scores: ``(B, k)``, comparable within a list; -inf at an empty place.
        sids: rows of distinct SIDs ``(B, k)``, -1 likewise.
        denoiser_calls: decoder passes made for a user, mean over the users.
        distinct_states: share of distinct states among those denoised.
        legal_share: share of decoded SIDs that belong to an item.
        completed_share: share of users whose search found fewer than k items and
            whose list was filled up by one-pass scores.
    """

    items: Tensor
    scores: Tensor
    sids: Tensor
    denoiser_calls: float = 0.0
    distinct_states: float = 1.0
    legal_share: float = 1.0
    completed_share: float = 0.0


class Ranker(Protocol):
    """A method that ranks the items of its catalogue for any users."""

    def rank(self, batch: HistoryBatch, excluded: Tensor, k: int) -> Lists:
        """Rank items for a batch of users.

        Equally good items go by training popularity, then index. A list has empty
        places only where the user may get no more items; a search without constraint
        may leave some.

        Args:
            batch: the users' histories.
            excluded: item indices that a user must not get, -1 for none, ``(B, E)``.
            k: length of the lists.
        """
