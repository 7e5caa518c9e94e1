"""The protocol of every method that ranks items, and what it returns.

Symbols: B users of a batch, E excluded items, k places of a list.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn.functional import pad

from sidiff.diffusion.histories import HistoryBatch

FEWEST_USERS = 4
"""Of a batch whose lists are to be the same in any company."""


@dataclass(frozen=True)
class Lists:
    """The lists of a batch of users, best first.

    Attributes:
        items: item indices ``(B, k)`` int64, -1 at an empty place.
        scores: ``(B, k)``, comparable within a list; -inf at an empty place.
        sids: rows of distinct SIDs ``(B, k)``, -1 likewise.
        denoiser_calls: decoder passes made for a user, mean over the users.
        distinct_states: share of distinct states among those denoised.
        valid_share: share of decoded SIDs that belong to an item.
        completed: users whose search found fewer than k items and whose list was filled
            up by one-pass scores, ``(B,)`` bool; None where there was no search.
        chain: the Markov chain's part of each item's probability ``(B, k)``, 0 to 1;
            None where there was none. Without meaning at an empty place.
    """

    items: Tensor
    scores: Tensor
    sids: Tensor
    denoiser_calls: float = 0.0
    distinct_states: float = 1.0
    valid_share: float = 1.0
    completed: Tensor | None = None
    chain: Tensor | None = None


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


def rank_alike(
    ranker: Ranker, batch: HistoryBatch, excluded: Tensor, k: int, slots: int
) -> Lists:
    """Lists that are the same to the last bit whoever shares the batch.

    On one CPU, with one number of threads, and for networks whose widths are multiples
    of 16. Products of fewer than ``FEWEST_USERS`` rows, and sums over keys of another
    length, are rounded differently.

    Args:
        ranker: the method.
        batch: the users' histories.
        excluded: as for ``Ranker.rank``.
        k: length of the lists.
        slots: items of the longest history that there can be.
    """
    users = len(batch.lengths)
    # Multiples of the fewest: a product of a new shape costs the CPU a new kernel.
    size = -(-users // FEWEST_USERS) * FEWEST_USERS
    rows = torch.arange(size, device=excluded.device) % users
    more = slots - batch.history.shape[1]
    wide = HistoryBatch(
        pad(batch.history[rows], (0, 0, 0, more)),
        batch.lengths[rows],
        pad(batch.history_items[rows], (0, more)),
    )
    lists = ranker.rank(wide, excluded[rows], k)
    theirs: dict[str, Any] = {
        name: part[:users]
        for name, part in vars(lists).items()
        if isinstance(part, Tensor)
    }
    return replace(lists, **theirs)
