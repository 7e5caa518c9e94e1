"""The ranker that the parameters name, for one trained network."""

from __future__ import annotations

from sidiff.decoding.catalogue import Catalogue
from sidiff.decoding.posterior import Posterior
from sidiff.diffusion.joint import ItemTable, JointDenoiser
from sidiff.diffusion.networks import Network
from sidiff.errors import SidiffError
from sidiff.parameters import RankingParameters
from sidiff.ranking.items import ItemRanker, PosteriorItems
from sidiff.ranking.markov import Chain
from sidiff.ranking.ranker import Ranker
from sidiff.ranking.searched import SearchRanker


def network_ranker(
    network: Network,
    parameters: RankingParameters,
    catalogue: Catalogue,
    items: ItemTable,
    chain: Chain | None = None,
    share: float = 0.0,
) -> Ranker:
    """A method of ranking by a trained network.

    Args:
        network: in evaluation mode.
        parameters: the method, and its search where it is one.
        catalogue: the existing SIDs and the items that may be recommended.
        items: codes and residual rows of all items.
        chain: of the ``mixture``; not read by other methods.
        share: of the chain.

    Raises:
        SidiffError: the method ranks items and the network has only digits.
    """
    if not isinstance(network, JointDenoiser):
        if parameters.by_items:
            raise SidiffError(
                f"Ranking by {parameters.method} needs a network trained with "
                "training.network.posterior: items."
            )
        return SearchRanker(
            network,
            lambda batch: network.encode(batch.history, batch.lengths),
            parameters,
            catalogue,
        )
    posterior = Posterior(network, items)
    if not parameters.by_items:
        return SearchRanker(posterior, posterior.encode, parameters, catalogue)
    ranked = PosteriorItems(posterior)
    if parameters.method == "items":
        return ItemRanker(ranked, catalogue)
    return ItemRanker(ranked, catalogue, chain, share)
