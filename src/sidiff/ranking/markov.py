"""The Markov chain: transitions from the last items of a history.

The chain is first-order and counts transitions in training. Pairs that never occurred
have probability 0, so ``sidiff.ranking.items`` adds it to another model's energies.

Symbols: B users, T history, N items, F followers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from sidiff.decoding.keys import padded_rows
from sidiff.diffusion.slices import slices
from sidiff.ranking.settings import MarkovParameters, TransitionParameters


class Followers(NamedTuple):
    """The items that followed a user's last items in training, with their values.

    Attributes:
        items: ascending, ``(B, F)``; N at an empty place.
        values: ``(B, F)``, 0 at an empty place: probabilities or energies.
    """

    items: Tensor
    values: Tensor

    def value_of(self, items: Tensor) -> Tensor:
        """Values of items ``(B, M)``; 0 for an item that is no follower."""
        if not self.items.shape[1]:
            return self.values.new_zeros(items.shape)
        place = torch.searchsorted(self.items, items.contiguous())
        place = place.clamp(max=self.items.shape[1] - 1)
        known = self.items.gather(1, place) == items
        return self.values.gather(1, place).masked_fill(~known, 0.0)


@dataclass(frozen=True)
class Chain:
    """The successors of every item, in compressed sparse rows.

    Attributes:
        starts: first place of each item in ``items``, ``(N + 1,)``.
        items: the successors.
        shares: share of the item's transitions of each successor.
        parameters: number and weights of the history items that count.
    """

    starts: Tensor
    items: Tensor
    shares: Tensor
    parameters: MarkovParameters

    @classmethod
    def of(
        cls,
        counts: sparse.csr_array,
        parameters: MarkovParameters,
        device: torch.device,
    ) -> Chain:
        """The chain of the most frequent successors; ties go by index.

        Args:
            counts: transitions from row to column, ``(N, N)``, as
                ``sidiff.reviews.transitions.transition_counts`` returns them.
            parameters: of the chain.
            device: of its tensors.
        """
        rows = np.repeat(np.arange(counts.shape[0]), np.diff(counts.indptr))
        order = np.lexsort((counts.indices, -counts.data, rows))
        rank = np.arange(len(rows)) - counts.indptr[rows]
        kept = order[rank < parameters.successors]
        shares = counts.data / counts.sum(axis=1)[rows]
        sizes = np.bincount(rows[kept], minlength=counts.shape[0])
        starts = np.concatenate([[0], np.cumsum(sizes)])
        return cls(
            torch.from_numpy(starts).to(device),
            torch.from_numpy(counts.indices[kept].astype(np.int64)).to(device),
            torch.from_numpy(shares[kept]).to(device),
            parameters,
        )

    def after(self, history: Tensor, lengths: Tensor) -> Followers:
        """The followers of the last items of histories; older items weigh less.

        Args:
            history: items, oldest first, right-padded with any item, ``(B, T)``.
            lengths: real items ``(B,)``.

        Returns:
            Items and probabilities; these sum to 1 for a user with followers.
        """
        age = (
            lengths[:, None]
            - 1
            - torch.arange(history.shape[1], device=self.items.device)
        )
        weights = torch.pow(self.parameters.decay, age.clamp(min=0).double())
        counts = (age >= 0) & (age < self.parameters.items) & (weights > 0.0)
        user, slot = counts.nonzero(as_tuple=True)
        item, weight = history[user, slot], weights[user, slot]
        first = self.starts[item]
        owner, place = slices(first, self.starts[item + 1] - first)
        size = len(self.starts) - 1
        keys = user[owner] * size + self.items[place]
        keys, which = keys.unique(return_inverse=True)
        shares = torch.zeros(len(keys), dtype=torch.float64, device=self.items.device)
        shares.index_add_(0, which, weight[owner] * self.shares[place])
        user, item = keys // size, keys % size
        total = shares.new_zeros(len(history)).index_add_(0, user, shares)
        shares = (shares / total[user]).float()
        width = int(user.bincount(minlength=1).max())
        return Followers(
            padded_rows(user, item, len(history), width, size),
            padded_rows(user, shares, len(history), width, 0.0),
        )


@dataclass(frozen=True)
class Transitions:
    """A Markov chain as a term of the energy: ``weight * log(1 + p / scale)``."""

    chain: Chain
    parameters: TransitionParameters

    def after(self, history: Tensor, lengths: Tensor) -> Followers:
        """Followers with their energies; see ``Chain.after``."""
        items, p = self.chain.after(history, lengths)
        return Followers(
            items, self.parameters.weight * torch.log1p(p / self.parameters.scale)
        )
