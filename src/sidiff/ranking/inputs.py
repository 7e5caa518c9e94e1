"""The items of a catalogue and their counts in training: the inputs of all rankers.

Symbols: N items, L digits.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from sidiff.decoding.catalogue import Catalogue
from sidiff.decoding.lattice import Lattice
from sidiff.diffusion.joint import ItemTable
from sidiff.ranking.items import ItemRanker, Popularity
from sidiff.ranking.markov import Chain, Transitions
from sidiff.ranking.settings import TransitionParameters
from sidiff.sids.table import SidTable


@dataclass(frozen=True, eq=False)
class RankingInputs:
    """The items of a catalogue on one device.

    Attributes:
        items: codes and residual rows, as networks read them.
        catalogue: semantic IDs and their items, and which may be recommended.
        popularity: of the items in training.
        chain: transitions in training; None where no method needs them.
    """

    items: ItemTable
    catalogue: Catalogue
    popularity: Popularity
    chain: Chain | None

    @classmethod
    def build(
        cls,
        table: SidTable,
        counts: NDArray[np.int64],
        device: torch.device,
        residuals: NDArray[np.int64] | None = None,
        lattice: Lattice | None = None,
        allowed: NDArray[np.bool_] | None = None,
        chain: Chain | None = None,
    ) -> RankingInputs:
        """Lay the items out on ``device``.

        Args:
            table: the items' semantic IDs.
            counts: occurrences of each item in the training part ``(N,)``.
            device: of the rankers.
            residuals: row of each item in a network's table of residuals, 0 for none,
                ``(N,)``; None where no network has one.
            lattice: of the table, where it was built before.
            allowed: items that may be recommended ``(N,)``; None for all.
            chain: transitions in training, on the device.
        """
        if residuals is None:
            residuals = np.zeros(len(table.codes), dtype=np.int64)
        items = ItemTable(
            torch.from_numpy(table.codes.astype(np.int64)).to(device),
            torch.from_numpy(residuals).to(device),
        )
        catalogue = Catalogue.build(
            table.groups(), table.codebook_size, counts, device, lattice
        )
        if allowed is not None:
            catalogue = catalogue.restrict(torch.from_numpy(allowed).to(device))
        popularity = Popularity(torch.from_numpy(counts).to(device))
        return cls(items, catalogue, popularity, chain)

    @property
    def popular(self) -> ItemRanker:
        """The ranker by popularity alone."""
        return ItemRanker(self.popularity, self.catalogue)

    def transitions(self, parameters: TransitionParameters) -> Transitions | None:
        """The chain as a term of the energy; None without a chain."""
        return None if self.chain is None else Transitions(self.chain, parameters)
