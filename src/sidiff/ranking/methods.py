"""The ranker that the parameters name, for one trained network."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sidiff.decoding.catalogue import Catalogue
from sidiff.decoding.posterior import Posterior
from sidiff.diffusion.denoiser import DenoisingModel
from sidiff.diffusion.histories import HistoryBatch
from sidiff.diffusion.joint import ItemTable, JointDenoiser
from sidiff.diffusion.networks import Network
from sidiff.errors import SidiffError
from sidiff.ranking.items import ItemRanker, PosteriorItems
from sidiff.ranking.markov import Transitions
from sidiff.ranking.searched import SearchRanker
from sidiff.ranking.settings import WITH_TRANSITIONS, RankingParameters

Encode = Callable[[HistoryBatch], Any]
"""The encoder of a network: from a batch of histories to their memory."""


def search_model(
    network: Network, items: ItemTable
) -> tuple[DenoisingModel | Posterior, Encode]:
    """The model that a search denoises with, and its encoder of histories."""
    if isinstance(network, JointDenoiser):
        posterior = Posterior(network, items)
        return posterior, posterior.encode
    return network, lambda batch: network.encode(batch.history, batch.lengths)


def method_ranker(
    model: tuple[DenoisingModel | Posterior, Encode],
    parameters: RankingParameters,
    catalogue: Catalogue,
    transitions: Transitions | None = None,
) -> ItemRanker | SearchRanker:
    """The ranker of ``parameters.method``; ``model`` is of ``search_model``.

    Raises:
        SidiffError: the method ranks items and the network has only digits.
    """
    searched, encode = model
    if not parameters.needs_posterior:
        return SearchRanker(searched, encode, parameters, catalogue)
    if not isinstance(searched, Posterior):
        raise SidiffError(
            f"Ranking by {parameters.method} needs a network trained with "
            "training.network.posterior: items."
        )
    chain = transitions if parameters.method == WITH_TRANSITIONS else None
    return ItemRanker(PosteriorItems(searched), catalogue, chain)
