"""Lists by a search for semantic IDs: decode, expand, fill up."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from sidiff.decoding import one_pass
from sidiff.decoding.catalogue import Catalogue
from sidiff.decoding.decoders import DECODERS
from sidiff.decoding.keys import among
from sidiff.diffusion.denoiser import DenoisingModel
from sidiff.diffusion.histories import HistoryBatch
from sidiff.ranking.lists import compact, distinct, fit, items_of, rank_sids
from sidiff.ranking.ranker import Lists
from sidiff.ranking.settings import RankingParameters


@dataclass(frozen=True)
class SearchRanker:
    """A search through the SIDs of a denoiser, from the fully masked one.

    Attributes:
        denoiser: the trained network, in evaluation mode.
        encode: histories of a batch to what the denoiser reads of them.
        parameters: the search.
        catalogue: the existing SIDs and the items that may be recommended.
    """

    denoiser: DenoisingModel
    encode: Callable[[HistoryBatch], Any]
    parameters: RankingParameters
    catalogue: Catalogue

    def rank(self, batch: HistoryBatch, excluded: Tensor, k: int) -> Lists:
        """Rank items for a batch of users, as ``Ranker`` says."""
        memory = self.encode(batch)
        return search(
            self.denoiser, memory, self.parameters, self.catalogue, excluded, k
        )


@torch.inference_mode()
def search(
    denoiser: DenoisingModel,
    memory: Any,
    parameters: RankingParameters,
    catalogue: Catalogue,
    excluded: Tensor,
    k: int,
) -> Lists:
    """The best ``k`` items of every user, by way of their SIDs.

    Under ``constraint: items`` a list that the search left short is filled up with the
    best other items of one-pass scoring: it has k items whenever so many may be
    recommended to the user.

    Args:
        denoiser: the trained network.
        memory: the users' encoded histories, batch size B.
        parameters: the search, whose ``method`` is a name in ``DECODERS``.
        catalogue: the existing SIDs and the items that may be recommended.
        excluded: item indices not to recommend to a user, -1 for none, ``(B, E)``.
        k: length of the lists.
    """
    excluded_sids = catalogue.exhausted(excluded)
    beam = max(parameters.beam, k if parameters.method == "one_pass" else 0)
    decoded = DECODERS[parameters.method](
        denoiser,
        memory,
        parameters.model_copy(update={"beam": beam}),
        catalogue,
        excluded_sids,
    )
    ranked = rank_sids(decoded, catalogue, excluded_sids)
    items, scores = items_of(ranked.rows, ranked.scores, catalogue, excluded, k)
    items, scores, rows = fit(items, k, -1), fit(scores, k, -torch.inf), ranked.rows
    short = (items < 0).any(1) & (parameters.constraint == "items")
    if bool(short.any()):
        # Twice as many: those that are in the list already do not count.
        wide = parameters.model_copy(update={"beam": 2 * k})
        theirs = memory.take(short.nonzero()[:, 0])
        more = rank_sids(
            one_pass.decode(denoiser, theirs, wide, catalogue, excluded_sids[short]),
            catalogue,
            excluded_sids[short],
        )
        others = items_of(more.rows, more.scores, catalogue, excluded[short], 2 * k)
        items[short], scores[short] = _filled_up(items[short], scores[short], *others)
        rows = F.pad(rows, (0, more.rows.shape[1]), value=-1)
        rows[short] = torch.cat([ranked.rows[short], more.rows], 1)
    return Lists(
        items,
        scores,
        distinct(rows, k),
        decoded.denoiser_calls,
        decoded.distinct_states,
        ranked.valid_share,
        short,
    )


def _filled_up(
    items: Tensor, scores: Tensor, others: Tensor, below: Tensor
) -> tuple[Tensor, Tensor]:
    """Lists with ``others``, of scores ``below``, in their empty places, none twice.

    One-pass scores are of another kind; they are shifted to stay below the list's.
    """
    lowest = scores.masked_fill(items < 0, torch.inf).amin(1, keepdim=True)
    lowest = torch.where(lowest == torch.inf, below[:, :1], lowest)
    shifted = below - (below[:, :1] - lowest).clamp(min=0.0)
    k = items.shape[1]
    others = others.masked_fill(among(others, items), -1)
    items, scores = compact(
        torch.cat([items, others], 1), torch.cat([scores, shifted], 1)
    )
    return items[:, :k], scores[:, :k]
