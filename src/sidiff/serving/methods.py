"""The ways in which one bundle makes lists, by name: the seam to the ranking code.

Symbols: B users, T history, E excluded items, k places, L digits.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sidiff.decoding.catalogue import Catalogue
from sidiff.decoding.decoders import DECODERS
from sidiff.decoding.lattice import Lattice
from sidiff.decoding.posterior import Posterior
from sidiff.decoding.trace import Trace, trace
from sidiff.diffusion.histories import HistoryBatch
from sidiff.diffusion.joint import ItemTable
from sidiff.diffusion.networks import network_from_saved
from sidiff.ranking.items import ItemRanker, Popularity
from sidiff.ranking.markov import Chain, Transitions
from sidiff.ranking.methods import method_ranker, search_model
from sidiff.ranking.ranker import Lists, rank_alike
from sidiff.ranking.settings import (
    BY_ITEMS,
    MarkovParameters,
    RankingParameters,
    TransitionParameters,
)
from sidiff.serving.bundle import Bundle

SIDS_TRACED = 2048
"""Semantic IDs traced at a time, at least those of one user: bounds memory."""


class Methods:
    """A network, its catalogue, and every way to rank the one by the other.

    Attributes:
        names: of the ways.
        default: the one that was evaluated.
        catalogue: all items.
        max_history: most items that the network reads.
        vectors: of the items ``(N, d)``, whose angles say how alike two items are:
            those of the network where it knows whole items, else those of the items'
            codes side by side.
    """

    def __init__(self, bundle: Bundle, device: torch.device) -> None:
        """Lay everything out on ``device``."""
        settings, table = bundle.ranking, bundle.table
        weights = {name: torch.from_numpy(a) for name, a in bundle.weights.items()}
        network = network_from_saved(weights, bundle.network).to(device)
        network.precision = settings["precision"]
        network.requires_grad_(requires_grad=False)
        self.device, self.max_history = device, network.config.max_history
        self._items = ItemTable(
            torch.from_numpy(table.codes.astype(np.int64)).to(device),
            torch.from_numpy(bundle.items["residual"].to_numpy().copy()).to(device),
        )
        lattice = None
        if bundle.lattice:
            shape = {"digits": table.digits, "codebook_size": table.codebook_size}
            lattice = Lattice.from_tensors(bundle.lattice, shape)
        counts = bundle.items["training_count"].to_numpy().copy()
        self.catalogue = Catalogue.build(
            table.groups(), table.codebook_size, counts, device, lattice
        )
        offered = torch.from_numpy(bundle.items["offered"].to_numpy().copy())
        if not offered.all():
            self.catalogue = self.catalogue.restrict(offered.to(device))
        self._popularity = Popularity(torch.from_numpy(counts).to(device))
        parameters = RankingParameters.model_validate(settings["ranking"])
        with torch.inference_mode():
            model = self._model, self._encode = search_model(network, self._items)
        transitions = None
        if isinstance(self._model, Posterior):
            names = (*BY_ITEMS, *DECODERS)
            arrays = {
                n: torch.from_numpy(a).to(device) for n, a in bundle.chain.items()
            }
            markov = MarkovParameters.model_validate(settings["markov"])
            added = TransitionParameters.model_validate(settings["transitions"])
            transitions = Transitions(Chain(**arrays, parameters=markov), added)
            self.vectors = self._model.vectors
        else:
            names = tuple(DECODERS)
            rows = self._items.codes + network.first_row
            self.vectors = network.codes[rows].flatten(1)
        self._rankers = {
            name: method_ranker(
                model,
                parameters.model_copy(update={"method": name}),
                self.catalogue,
                transitions,
            )
            for name in names
        }
        self.names, self.default = names, parameters.method

    def batch(
        self, items: NDArray[np.int64], lengths: NDArray[np.int64]
    ) -> HistoryBatch:
        """Histories of item indices ``(B, T)``, as the network takes them."""
        rows = torch.from_numpy(items).to(self.device)
        counts = torch.from_numpy(lengths).to(self.device)
        return HistoryBatch(self._items.codes[rows], counts, rows)

    def rank(
        self,
        name: str,
        batch: HistoryBatch,
        excluded: Tensor,
        k: int,
        catalogue: Catalogue,
    ) -> Lists:
        """Rank as ``Ranker`` says, by the way called ``name``.

        ``catalogue`` is that of all items or a restriction of it.
        """
        ranker = replace(self._rankers[name], catalogue=catalogue)
        return rank_alike(ranker, batch, excluded, k, self.max_history)

    def popular(self, k: int, catalogue: Catalogue) -> tuple[Tensor, Tensor]:
        """The list of a user of whom nothing is known: items and scores ``(k,)``."""
        batch = self.batch(np.zeros((1, 0), np.int64), np.zeros(1, np.int64))
        ranker = ItemRanker(self._popularity, catalogue)
        lists = ranker.rank(batch, batch.history_items, k)
        return lists.items[0], lists.scores[0]

    def traces(
        self, batch: HistoryBatch, items: Tensor, runners_up: int
    ) -> Iterator[tuple[slice, Trace]]:
        """How the network denoises the items of lists, some users at a time.

        Args:
            batch: the users' histories.
            items: their lists ``(B, k)``; what stands at an empty place has no meaning.
            runners_up: codes to note at every step.
        """
        size = max(1, SIDS_TRACED // items.shape[1])
        for start in range(0, len(items), size):
            part = slice(start, start + size)
            sids = self._items.codes[items[part].clamp(min=0)]
            memory = self._encode(batch.part(part))
            yield part, trace(self._model, memory, sids, runners_up)
