"""The ways in which one bundle makes lists, by name: the seam to the ranking code.

Symbols: B users, T history, E excluded items, k places, L digits.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sidiff.decoding.catalogue import Catalogue
from sidiff.decoding.decoders import DECODERS
from sidiff.decoding.lattice import Lattice
from sidiff.decoding.posterior import Posterior
from sidiff.decoding.trace import trace
from sidiff.diffusion.histories import HistoryBatch
from sidiff.diffusion.joint import ItemTable
from sidiff.diffusion.networks import network_from_saved
from sidiff.errors import SidiffError
from sidiff.evaluation.settings import EvaluationParameters
from sidiff.ranking.items import ItemRanker, Popularity
from sidiff.ranking.markov import Chain, Transitions
from sidiff.ranking.methods import method_ranker, search_model
from sidiff.ranking.ranker import Lists, rank_alike
from sidiff.ranking.searched import SearchRanker
from sidiff.ranking.settings import (
    MarkovParameters,
    RankingParameters,
    TransitionParameters,
)
from sidiff.serving.bundle import Bundle
from sidiff.serving.lists import Paths

MARKOV, ITEMS = "items_markov", "items"
SIDS_TRACED = 2048
"""Semantic IDs traced at a time, at least those of one user: bounds memory."""


def settings_of(evaluation: EvaluationParameters) -> dict[str, Any]:
    """The settings of the evaluation that decide over lists, for a bundle."""
    return {
        "ranking": evaluation.ranking.model_dump(),
        "markov": evaluation.markov.model_dump(),
        "transitions": evaluation.transitions.model_dump(),
        "precision": evaluation.precision,
    }


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
        self._rankers: dict[str, ItemRanker | SearchRanker] = {}
        parameters = RankingParameters.model_validate(settings["ranking"])
        with torch.inference_mode():
            model = self._model, self._encode = search_model(network, self._items)
        if isinstance(self._model, Posterior):
            ways, transitions = (MARKOV, ITEMS, *DECODERS), self._transitions(bundle)
            self.vectors = self._model.vectors
        else:
            ways, transitions = tuple(DECODERS), None
            rows = self._items.codes + network.first_row
            self.vectors = network.codes[rows].flatten(1)
        for name in ways:
            method = parameters.model_copy(update={"method": name})
            self._rankers[name] = method_ranker(
                model, method, self.catalogue, transitions
            )
        self.names = tuple(self._rankers)
        self.default: str = parameters.method

    def _transitions(self, bundle: Bundle) -> Transitions:
        arrays = {n: torch.from_numpy(a) for n, a in bundle.chain.items()}
        chain = Chain(
            **{name: array.to(self.device) for name, array in arrays.items()},
            parameters=MarkovParameters.model_validate(bundle.ranking["markov"]),
        )
        settings = bundle.ranking["transitions"]
        return Transitions(chain, TransitionParameters.model_validate(settings))

    def batch(self, items: Tensor, lengths: Tensor) -> HistoryBatch:
        """Histories of item indices ``(B, T)``, as the network takes them."""
        return HistoryBatch(self._items.codes[items], lengths, items)

    def rank(
        self,
        name: str,
        batch: HistoryBatch,
        excluded: Tensor,
        k: int,
        catalogue: Catalogue,
    ) -> Lists:
        """Rank items for users with a history.

        Args:
            name: one of ``names``.
            batch: their histories.
            excluded: item indices that a user must not get, -1 for none, ``(B, E)``.
            k: length of the lists.
            catalogue: ``self.catalogue`` or a restriction of it.
        """
        ranker = replace(self._rankers[name], catalogue=catalogue)
        return rank_alike(ranker, batch, excluded, k, self.max_history)

    def popular(self, k: int, catalogue: Catalogue) -> tuple[Tensor, Tensor]:
        """The list of a user of whom nothing is known: items and scores ``(k,)``."""
        nothing = torch.zeros(1, 0, dtype=torch.int64, device=self.device)
        batch = self.batch(nothing, nothing.new_zeros(1))
        lists = ItemRanker(self._popularity, catalogue).rank(batch, nothing, k)
        return lists.items[0], lists.scores[0]

    def check(self, name: str) -> None:
        """Refuse a method that this bundle does not have.

        Raises:
            SidiffError: names those it has.
        """
        if name not in self.names:
            raise SidiffError(
                f"This bundle has no decoder {name}; choose one of "
                f"{', '.join(self.names)}."
            )

    def has_chain(self, name: str) -> bool:
        """Test that the Markov chain has a part in the lists of a method."""
        return name == MARKOV

    def note_paths(
        self,
        paths: Paths,
        users: NDArray[np.int64],
        batch: HistoryBatch,
        items: Tensor,
    ) -> None:
        """Write down how the network denoises the items of lists.

        Args:
            paths: where, rows of users.
            users: the rows ``(B,)``.
            batch: their histories.
            items: their lists ``(B, k)``; what stands at an empty place has no meaning.
        """
        size = max(1, SIDS_TRACED // items.shape[1])
        for start in range(0, len(users), size):
            part = slice(start, start + size)
            sids = self._items.codes[items[part].clamp(min=0)]
            memory = self._encode(batch.part(part))
            found = trace(self._model, memory, sids, paths.codes.shape[3])
            rows = users[part]
            paths.digits[rows] = found.digits.cpu().numpy()
            paths.filled[rows] = sids.gather(2, found.digits).cpu().numpy()
            paths.log_p[rows] = found.log_p.cpu().numpy()
            paths.codes[rows] = found.codes.cpu().numpy()
            paths.codes_log_p[rows] = found.codes_log_p.cpu().numpy()

    def no_paths(self, users: int, k: int, runners_up: int) -> Paths:
        """Room for what ``note_paths`` writes."""
        config = self._model.config
        shape = users, k, config.digits
        others = (*shape, min(runners_up, config.codebook_size))
        return Paths(
            np.zeros(shape, dtype=np.int64),
            np.zeros(shape, dtype=np.int64),
            np.zeros(shape, dtype=np.float32),
            np.zeros(others, dtype=np.int64),
            np.zeros(others, dtype=np.float32),
        )
