"""The baselines stage: networks trained per seed, every method ranked on test users."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sidiff.baselines import BASELINES
from sidiff.baselines.method import TrainedNetworks, TrainingInputs
from sidiff.baselines.settings import BaselinesParameters
from sidiff.devices import cpu_threads, resolve
from sidiff.errors import SidiffError
from sidiff.evaluation.settings import EvaluationParameters
from sidiff.ranking.inputs import RankingInputs
from sidiff.ranking.markov import Chain
from sidiff.ranking.results import Results
from sidiff.ranking.users import Users, rank_users
from sidiff.reviews.sequences import Sequences, evaluation_samples, training_counts
from sidiff.reviews.transitions import transition_counts
from sidiff.sids.table import SidTable


@dataclass(frozen=True)
class Ranked:
    """The lists of one method with one seed."""

    method: str
    seed: int
    results: Results


def fit_baselines(lessons: TrainingInputs) -> dict[str, TrainedNetworks]:
    """Train the networks of all methods, by the names they are stored under."""
    fitted: dict[str, TrainedNetworks] = {}
    with cpu_threads(lessons.parameters.threads):
        for method in lessons.parameters.methods:
            baseline = BASELINES[method]()
            if baseline.networks is not None and baseline.networks not in fitted:
                fitted[baseline.networks] = baseline.fit(lessons)
    return fitted


def rank_baselines(
    sequences: Sequences,
    table: SidTable,
    fitted: Mapping[str, TrainedNetworks],
    parameters: BaselinesParameters,
    evaluation: EvaluationParameters,
    max_history: int,
    allowed: NDArray[np.bool_] | None = None,
) -> list[Ranked]:
    """Rank the whole catalogue for the test split by every method of the parameters.

    Args:
        sequences: all users' items.
        table: the items' SIDs.
        fitted: the networks, see ``fit_baselines``.
        parameters: the methods and their settings.
        evaluation: length of the lists, seeds, the chain, and whether seen items are
            left out, as for the denoiser.
        max_history: most items of a history.
        allowed: items that may be recommended ``(N,)``; None for all.

    Returns:
        One entry per method and seed, in the order of ``parameters.methods``; methods
        without a network appear once, under the first seed.

    Raises:
        SidiffError: a method's networks are missing or were trained for other items.
    """
    device = resolve(parameters.device)
    inputs = RankingInputs.build(
        table,
        training_counts(sequences),
        device,
        allowed=allowed,
        chain=Chain.of(transition_counts(sequences), evaluation.markov, device),
    )
    users = Users(
        sequences,
        inputs.items,
        evaluation_samples(sequences, "test", max_history),
        evaluation.top_k,
        evaluation.exclude_seen,
        parameters.users_per_batch,
    )
    ranked = []
    with cpu_threads(parameters.threads):
        for method in parameters.methods:
            baseline = BASELINES[method]()
            trained, seeds = TrainedNetworks({}, {}), evaluation.seeds[:1]
            if baseline.networks is not None:
                seeds = evaluation.seeds
                trained = fitted.get(baseline.networks, trained)
                _check(trained.config, method, baseline.title, seeds, max_history)
            for seed in seeds:
                ranker = baseline.ranker(
                    inputs, parameters, trained.of_seed(seed), trained.config
                )
                results = rank_users(ranker, users, f"ranking, {method}, seed {seed}")
                ranked.append(Ranked(method, seed, results))
    return ranked


def _check(
    config: Mapping[str, Any],
    method: str,
    title: str,
    seeds: list[int],
    max_history: int,
) -> None:
    """Refuse networks of other seeds or of longer histories."""
    trained, longest = config.get("seeds", []), config.get("max_history")
    if not set(seeds) <= set(trained):
        raise SidiffError(
            f"{method} is among baselines.methods but was trained with the seeds "
            f"{trained}, not {seeds}; run kedro run --pipeline=baselines as a "
            "whole."
        )
    if longest != max_history:
        raise SidiffError(
            f"The stored {title} reads histories of at most {longest} items, "
            f"filtering.max_history is {max_history}; run kedro run "
            "--pipeline=baselines again, or give the value it was trained with."
        )
