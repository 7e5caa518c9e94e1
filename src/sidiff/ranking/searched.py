"""Rankings by a search for semantic IDs: decode, list their items, fill up."""

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
from sidiff.decoding.search import Search
from sidiff.diffusion.denoiser import DenoisingModel
from sidiff.diffusion.histories import HistoryBatch
from sidiff.ranking.lists import compact, distinct, items_of, padded_to, rank_sids
from sidiff.ranking.ranker import Lists
from sidiff.ranking.settings import RankingParameters


@dataclass(frozen=True)
class SearchRanker:
    """A search for SIDs by a denoiser, from the fully masked state.

    Attributes:
        denoiser: the trained network, in evaluation mode.
        encode: the denoiser's encoder of histories.
        parameters: the search.
        catalogue: the existing SIDs and the items that may be recommended.
    """

    denoiser: DenoisingModel
    encode: Callable[[HistoryBatch], Any]
    parameters: RankingParameters
    catalogue: Catalogue

    @torch.inference_mode()
    def rank(self, batch: HistoryBatch, excluded: Tensor, k: int) -> Lists:
        """Rank items for a batch of users by their SIDs, as ``Ranker`` says.

        Under ``constraint: items``, a list with empty places is filled up with the best
        other items of one-pass scoring. It then has k items if so many are allowed.
        """
        p, catalogue = self.parameters, self.catalogue
        excluded_sids = catalogue.fully_excluded(excluded)
        beam = max(p.beam, k if p.method == "one_pass" else 0)
        memory = self.encode(batch)
        search = Search(
            self.denoiser,
            memory,
            p.model_copy(update={"beam": beam}),
            catalogue,
            excluded_sids,
        )
        decoded = DECODERS[p.method](search)
        ranked = rank_sids(decoded, catalogue, excluded_sids)
        items, scores = items_of(ranked.rows, ranked.scores, catalogue, excluded, k)
        items, scores = padded_to(items, k, -1), padded_to(scores, k, -torch.inf)
        rows = ranked.rows
        short = (items < 0).any(1) & (p.constraint == "items")
        if bool(short.any()):
            # 2 k, because up to k of them may be in the list already.
            one_pass_search = Search(
                self.denoiser,
                memory.take(short.nonzero()[:, 0]),
                p.model_copy(update={"beam": 2 * k}),
                catalogue,
                excluded_sids[short],
            )
            more = rank_sids(
                one_pass.decode(one_pass_search), catalogue, one_pass_search.excluded
            )
            others = items_of(more.rows, more.scores, catalogue, excluded[short], 2 * k)
            items[short], scores[short] = _filled_up(
                items[short], scores[short], *others
            )
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
    """Lists with new items of ``others`` in their empty places.

    Scores ``below`` of the others come from one-pass scoring and are not comparable;
    they are shifted below those of the list.
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
