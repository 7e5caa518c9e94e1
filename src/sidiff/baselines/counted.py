"""Baselines that only count: popularity, and popularity with the Markov chain."""

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
    """Items by their number in training."""

    def ranker(
        self,
        inputs: RankingInputs,
        parameters: BaselinesParameters,
        weights: Mapping[str, Tensor],
        config: Mapping[str, Any],
    ) -> Ranker:
        """The same list for everybody."""
        return inputs.popular


class Markov(Baseline):
    """The chain of a user's last items; other items go by popularity."""

    def ranker(
        self,
        inputs: RankingInputs,
        parameters: BaselinesParameters,
        weights: Mapping[str, Tensor],
        config: Mapping[str, Any],
    ) -> Ranker:
        """The chain, with the popularity in the place of a network's energies."""
        return replace(
            inputs.popular, transitions=inputs.transitions(parameters.markov)
        )
