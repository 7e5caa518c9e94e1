"""The inputs of all rankers: items of a catalogue and their counts in training.

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
        items: codes and residual rows, the input of the networks.
        catalogue: semantic IDs and their items, and which may be recommended.
        popular: the ranker by popularity alone.
        chain: transitions in training; None where no method needs them.
    """

    items: ItemTable
    catalogue: Catalogue
    popular: ItemRanker
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
        """Move the items to ``device``.

        Args:
            table: the items' semantic IDs.
            counts: occurrences of each item in the training part ``(N,)``.
            device: of all tensors.
            residuals: row of each item in a network's table of residuals, 0 for none,
                ``(N,)``; None where no network has one.
            lattice: of the table; None to build it.
            allowed: items that may be recommended ``(N,)``; None for all.
            chain: transitions in training, on the device.
        """
        catalogue = Catalogue.build(
            table.groups(), table.codebook_size, counts, device, lattice
        )
        if allowed is not None:
            catalogue = catalogue.restrict(torch.from_numpy(allowed).to(device))
        popularity = Popularity(torch.from_numpy(counts).to(device))
        return cls(
            ItemTable.of(table.codes, residuals, device),
            catalogue,
            ItemRanker(popularity, catalogue),
            chain,
        )

    def transitions(self, parameters: TransitionParameters) -> Transitions | None:
        """The chain as a term of the energy; None without a chain."""
        return None if self.chain is None else Transitions(self.chain, parameters)
