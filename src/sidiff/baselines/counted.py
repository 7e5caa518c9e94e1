"""Baselines without training: popularity, and popularity with the Markov chain."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from torch import Tensor

from sidiff.baselines.method import Baseline
from sidiff.baselines.settings import BaselinesParameters
from sidiff.ranking.inputs import RankingInputs
from sidiff.ranking.ranker import Ranker


class Popular(Baseline):
    """Items by their frequency in the training data."""

    def ranker(
        self,
        inputs: RankingInputs,
        parameters: BaselinesParameters,
        weights: Mapping[str, Tensor],
        config: Mapping[str, Any],
    ) -> Ranker:
        """Rank all users alike, by popularity."""
        return inputs.popular


class Markov(Baseline):
    """The Markov chain of a user's last items; other items by popularity."""

    def ranker(
        self,
        inputs: RankingInputs,
        parameters: BaselinesParameters,
        weights: Mapping[str, Tensor],
        config: Mapping[str, Any],
    ) -> Ranker:
        """Rank by transitions, with the popularity in place of a network's energies."""
        return replace(
            inputs.popular, transitions=inputs.transitions(parameters.markov)
        )
