"""Baselines that only count: popularity, and popularity with the Markov chain."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from sidiff.baselines.method import Baseline, RankingInputs
from sidiff.ranking.items import ItemRanker
from sidiff.ranking.markov import Transitions
from sidiff.ranking.ranker import Ranker


class Popular(Baseline):
    """Items by their number in training."""

    def ranker(
        self,
        inputs: RankingInputs,
        weights: Mapping[str, Tensor],
        config: Mapping[str, Any],
    ) -> Ranker:
        """The same list for all users."""
        return ItemRanker(inputs.popularity, inputs.catalogue)


class Markov(Baseline):
    """The chain of a user's last items; what never followed them goes by popularity."""

    def ranker(
        self,
        inputs: RankingInputs,
        weights: Mapping[str, Tensor],
        config: Mapping[str, Any],
    ) -> Ranker:
        """The chain, with the popularity in the place of a network's energies."""
        transitions = Transitions(inputs.chain, inputs.parameters.markov)
        return ItemRanker(inputs.popularity, inputs.catalogue, transitions)
