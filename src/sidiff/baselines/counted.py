"""Baselines that only count: popularity, and popularity with the Markov chain."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from sidiff.baselines.method import Baseline, Shop
from sidiff.ranking.items import ItemRanker
from sidiff.ranking.markov import Transitions
from sidiff.ranking.ranker import Ranker


class Popular(Baseline):
    """Items by their number in training."""

    def ranker(
        self, shop: Shop, weights: Mapping[str, Tensor], config: Mapping[str, Any]
    ) -> Ranker:
        """The same list for everybody."""
        return ItemRanker(shop.popularity, shop.catalogue)


class Markov(Baseline):
    """The chain of a user's last items; what never followed them goes by popularity."""

    def ranker(
        self, shop: Shop, weights: Mapping[str, Tensor], config: Mapping[str, Any]
    ) -> Ranker:
        """The chain, with the popularity in the place of a network's energies."""
        transitions = Transitions(shop.chain, shop.parameters.markov)
        return ItemRanker(shop.popularity, shop.catalogue, transitions)
