"""The ranker that the parameters name, for one trained network."""

from __future__ import annotations

from sidiff.decoding.catalogue import Catalogue
from sidiff.diffusion.denoiser import Denoiser, ItemTable
from sidiff.parameters import RankingParameters
from sidiff.ranking.items import ItemRanker, NetworkItems
from sidiff.ranking.markov import Chain
from sidiff.ranking.ranker import Ranker
from sidiff.ranking.searched import SearchRanker


def network_ranker(
    denoiser: Denoiser,
    parameters: RankingParameters,
    catalogue: Catalogue,
    items: ItemTable,
    chain: Chain | None = None,
    share: float = 0.0,
) -> Ranker:
    """A method of ranking by a denoiser.

    Args:
        denoiser: the network, in evaluation mode.
        parameters: the method, and its search where it is one.
        catalogue: the existing SIDs and the items that may be recommended.
        items: codes and identities of all items.
        chain: of the ``mixture``; not read by other methods.
        share: of the chain.

    Raises:
        SidiffError: the method ranks by item vectors and the network has none.
    """
    if not parameters.by_items:
        return SearchRanker(denoiser, parameters, catalogue)
    softmax = NetworkItems(denoiser, items)
    if parameters.method == "items":
        return ItemRanker(softmax, catalogue)
    return ItemRanker(softmax, catalogue, chain, share)
