"""The baselines stage: training with every seed, and ranking of the test users."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from sidiff.baselines import BASELINES
from sidiff.baselines.method import TrainingInputs
from sidiff.baselines.settings import BaselinesParameters
from sidiff.devices import cpu_threads, resolve
from sidiff.errors import SidiffError
from sidiff.evaluation.settings import EvaluationParameters
from sidiff.ranking.inputs import RankingInputs
from sidiff.ranking.markov import Chain
from sidiff.ranking.results import Ranked
from sidiff.ranking.users import Users, rank_users
from sidiff.reviews.sequences import Sequences, evaluation_samples, training_counts
from sidiff.reviews.transitions import transition_counts
from sidiff.sids.table import SidTable

Stored = tuple[dict[str, Tensor], dict[str, Any]]
"""Weights and configuration of a network."""


def fit_baselines(
    inputs: TrainingInputs,
) -> tuple[dict[str, Stored], list[dict[str, Any]]]:
    """Train the networks of all methods.

    Returns:
        Networks by ``NAME/SEED``, NAME as ``Baseline.networks``, and the settings
        compared on the validation split, with their scores.
    """
    stored: dict[str, Stored] = {}
    comparisons: list[dict[str, Any]] = []
    methods = [BASELINES[method]() for method in inputs.parameters.methods]
    # Methods that share networks train them alike.
    by_name = {one.networks: one for one in methods if one.networks}
    with cpu_threads(inputs.parameters.threads):
        for name, baseline in by_name.items():
            networks, compared = baseline.fit(inputs)
            comparisons += compared
            for seed, (network, trained) in zip(inputs.seeds, networks, strict=True):
                score = {"validation_ndcg_at_10": trained.score, "epoch": trained.epoch}
                config = network.saved_config() | {"seed": seed} | score
                stored[f"{name}/{seed}"] = trained.weights, config
    return stored, comparisons


def rank_baselines(
    sequences: Sequences,
    table: SidTable,
    stored: Mapping[str, Stored],
    parameters: BaselinesParameters,
    evaluation: EvaluationParameters,
    max_history: int,
    allowed: NDArray[np.bool_] | None = None,
) -> list[Ranked]:
    """Rank the whole catalogue for the test split by every method of the parameters.

    Args:
        sequences: all users' items.
        table: the items' SIDs.
        stored: the networks, see ``fit_baselines``.
        parameters: the methods and their settings.
        evaluation: length of the lists, seeds, Markov chain, and exclusion of seen
            items, as for the denoiser.
        max_history: longest history.
        allowed: items that may be recommended ``(N,)``; None for all.

    Returns:
        One entry per method and seed, in the order of ``parameters.methods``; methods
        without networks have one, under the first seed.

    Raises:
        SidiffError: networks of a method are missing or do not fit the items.
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
            networks: dict[int, Stored] = {evaluation.seeds[0]: ({}, {})}
            if baseline.networks is not None:
                networks = _networks_of(
                    method, baseline.networks, stored, evaluation.seeds, max_history
                )
            for seed, network in networks.items():
                ranker = baseline.ranker(inputs, parameters, *network)
                results = rank_users(ranker, users, f"ranking, {method}, seed {seed}")
                ranked.append(Ranked(method, seed, results))
    return ranked


def _networks_of(
    method: str,
    name: str,
    stored: Mapping[str, Stored],
    seeds: list[int],
    max_history: int,
) -> dict[int, Stored]:
    """The stored networks of a method by seed, checked."""
    trained = {
        config["seed"]: (weights, config)
        for key, (weights, config) in stored.items()
        if key.startswith(f"{name}/")
    }
    if not set(seeds) <= set(trained):
        raise SidiffError(
            f"{method} is among baselines.methods but was trained with the seeds "
            f"{list(trained)}, not {seeds}; run kedro run --pipeline=baselines as a "
            "whole."
        )
    longest = trained[seeds[0]][1].get("max_history")
    if longest != max_history:
        raise SidiffError(
            f"The stored networks of {method} read histories of at most {longest} "
            f"items, filtering.max_history is {max_history}; run kedro run "
            "--pipeline=baselines again, or give the value of their training."
        )
    return {seed: trained[seed] for seed in seeds}
