"""Existing SIDs and their items, as arrays for decoders."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sidiff.decoding.inverted_index import InvertedIndex
from sidiff.decoding.keys import SidIndex, repeats
from sidiff.decoding.lattice import Lattice, fits
from sidiff.errors import SidiffError
from sidiff.sids.table import Groups


class Continuations(Protocol):
    """Valid continuations of partial SIDs: ``Lattice`` or ``InvertedIndex``."""

    def counts(self, codes: Tensor, masked: Tensor, nodes: Tensor) -> Tensor:
        """Number of SIDs that each step leads to, int32 ``(B, A, L, K)``.

        Args:
            codes: of the states ``(B, A, L)``.
            masked: ``(B, A, L)`` bool.
            nodes: results of ``follow`` ``(B, A)``; 0 at the fully masked state.
        """

    def follow(self, nodes: Tensor, digit: Tensor, code: Tensor) -> Tensor:
        """The nodes of the states after filling a digit."""


@dataclass(frozen=True, eq=False)
class Catalogue:
    """Distinct SIDs and their items on one device.

    Attributes:
        codes: the SIDs, ``(S, L)`` int64.
        codebook_size: K.
        index: from codes to rows.
        sizes: number of allowed items of each SID, ``(S,)``.
        starts: first place of each SID's items in ``items``, ``(S,)``.
        items: allowed items, SID by SID, then by training popularity, then index.
        sid_of_item: ``(N,)``.
        by_popularity: all items, the most frequent in training first, then by index.
        place_of_item: place of each item in ``by_popularity``, ``(N,)``.
        lattice: of all SIDs; None to build it at first use.
        allowed_items: items that may be recommended, ``(N,)`` bool; None for all.
    """

    codes: Tensor
    codebook_size: int
    index: SidIndex
    sizes: Tensor
    starts: Tensor
    items: Tensor
    sid_of_item: Tensor
    by_popularity: Tensor
    place_of_item: Tensor
    lattice: Lattice | None = None
    allowed_items: Tensor | None = None

    @classmethod
    def build(
        cls,
        groups: Groups,
        codebook_size: int,
        training_counts: NDArray[np.int64],
        device: torch.device,
        lattice: Lattice | None = None,
    ) -> Catalogue:
        """Build the arrays of a catalogue.

        Args:
            groups: distinct SIDs and their items.
            codebook_size: K.
            training_counts: occurrences of each item in the training data ``(N,)``.
            device: of the arrays.
            lattice: of these SIDs; None to build it at first use.
        """
        order = np.argsort(-training_counts, kind="stable")
        by_popularity = torch.from_numpy(order).to(device)
        return cls(
            torch.from_numpy(groups.sid_codes.astype(np.int64)).to(device),
            codebook_size,
            SidIndex(groups.sid_codes, codebook_size, device),
            torch.from_numpy(groups.sizes).to(device),
            torch.from_numpy(groups.offsets[:-1]).to(device),
            torch.from_numpy(groups.items_by(training_counts)).to(device),
            torch.from_numpy(groups.sid_of_item).to(device),
            by_popularity,
            by_popularity.argsort(),
            lattice,
        )

    @property
    def device(self) -> torch.device:
        """The device of the arrays."""
        return self.codes.device

    @cached_property
    def continuations(self) -> Continuations:
        """Valid continuations of every partial SID; built at first use."""
        if not fits(*self.codes.shape):
            return InvertedIndex.build(
                self.codes, self.codebook_size, self.allowed_sids
            )
        lattice = self.lattice
        if lattice is None:
            lattice = Lattice.build(self.codes.cpu().numpy(), self.codebook_size)
        lattice = lattice.to(self.device)
        if self.allowed_sids is not None:
            lattice = lattice.restrict(self.allowed_sids)
        return lattice

    @property
    def allowed_sids(self) -> Tensor | None:
        """SIDs with an allowed item, ``(S,)`` bool; None for all."""
        return None if self.allowed_items is None else self.sizes > 0

    def restrict(self, allowed: Tensor) -> Catalogue:
        """The catalogue with only some of its items, ``allowed`` ``(N,)`` bool.

        Raises:
            SidiffError: no item is left.
        """
        if self.allowed_items is not None:
            allowed = allowed & self.allowed_items
        if not bool(allowed.any()):
            raise SidiffError(
                "No item may be recommended; widen evaluation.allow_items or shorten "
                "evaluation.deny_items."
            )
        kept = self.items[allowed[self.items]]
        sizes = self.sid_of_item[kept].bincount(minlength=len(self.codes))
        starts = sizes.cumsum(0) - sizes
        return replace(
            self, items=kept, sizes=sizes, starts=starts, allowed_items=allowed
        )

    def fully_excluded(self, excluded: Tensor) -> Tensor:
        """SIDs whose items are all excluded for a user.

        Args:
            excluded: item indices, -1 for none, ``(B, E)``.

        Returns:
            Distinct rows of SIDs, -1 for none, ``(B, E)``.
        """
        items = excluded.clamp(min=0)
        counted = (excluded >= 0) & ~repeats(excluded)
        if self.allowed_items is not None:
            counted &= self.allowed_items[items]
        sids = self.sid_of_item[items].masked_fill(~counted, -1)
        ordered = sids.sort(dim=1).values
        number = torch.searchsorted(ordered, sids, right=True)
        number -= torch.searchsorted(ordered, sids)
        whole = (sids >= 0) & (number == self.sizes[sids.clamp(min=0)])
        return sids.masked_fill(~whole | repeats(sids), -1)
