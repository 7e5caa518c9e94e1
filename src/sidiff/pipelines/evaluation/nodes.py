"""Nodes that rank items for the test split and measure the lists."""

# Every Kedro command imports this module; what is slow to import waits for the run.
# ruff: noqa: PLC0415

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import polars as pl

from sidiff.datasets import Model
from sidiff.evaluation.settings import EvaluationParameters
from sidiff.fingerprints import short
from sidiff.pipelines.frames import (
    check_trained_on,
    choose_seeds,
    to_lattice,
    to_sequences,
)
from sidiff.sids.table import SidTable

logger = logging.getLogger(__name__)

if TYPE_CHECKING:
    from sidiff.diffusion.networks import Network
    from sidiff.evaluation.run import Evaluator


def evaluate_denoiser(
    denoiser: Model,
    seed_denoisers: Model,
    sequences: pl.DataFrame,
    catalogue: pl.DataFrame,
    sid_table: pl.DataFrame,
    lattice: Model,
    evaluation: EvaluationParameters,
    ray_address: str | None,
) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame, dict[str, float]]:
    """Rank items for every user of the test split, with the networks of all seeds."""
    from sidiff.diffusion.networks import network_from_saved
    from sidiff.evaluation.run import evaluate

    evaluator = evaluator_of(
        denoiser, sequences, catalogue, sid_table, lattice, evaluation, ray_address
    )
    networks = _networks(denoiser, seed_denoisers, evaluator)
    main = int(denoiser.metadata.get("seed", -1))
    if main not in networks:
        networks[main] = network_from_saved(*denoiser)
    return evaluate(evaluator, networks, main)


def compare_decoders(
    denoiser: Model,
    seed_denoisers: Model,
    sequences: pl.DataFrame,
    catalogue: pl.DataFrame,
    sid_table: pl.DataFrame,
    lattice: Model,
    evaluation: EvaluationParameters,
    ray_address: str | None,
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Decode the test split by every decoder, with the networks of all seeds."""
    from sidiff.evaluation import run

    evaluator = evaluator_of(
        denoiser, sequences, catalogue, sid_table, lattice, evaluation, ray_address
    )
    networks = _networks(denoiser, seed_denoisers, evaluator)
    return run.compare_decoders(evaluator, networks)


def _networks(
    denoiser: Model, further: Model, evaluator: Evaluator
) -> dict[int, Network]:
    """The networks of ``evaluation.seeds``, all of the evaluator's SID table."""
    from sidiff.diffusion.networks import network_from_saved

    models = choose_seeds(denoiser, further, evaluator.parameters.seeds)
    for model in models.values():
        check_trained_on(model, evaluator.table)
    return {seed: network_from_saved(*model) for seed, model in models.items()}


def evaluator_of(
    denoiser: Model,
    sequences: pl.DataFrame,
    catalogue: pl.DataFrame,
    sid_table: pl.DataFrame,
    lattice: Model,
    evaluation: EvaluationParameters,
    ray_address: str | None = None,
) -> Evaluator:
    """The test split for a network, once their SID tables are known to agree.

    Raises:
        SidiffError: the network or the lattice is of another SID table.
    """
    from sidiff.diffusion.histories import residual_rows
    from sidiff.evaluation.run import Evaluator

    table = SidTable.from_frame(sid_table)
    check_trained_on(denoiser, table)
    users = to_sequences(sequences, catalogue)
    if denoiser.metadata.get("sequences") != users.fingerprint:
        logger.warning(
            "The stored denoiser was trained on sequences %s, the stored ones are %s: "
            "figures of the test split hold only if none of its targets were trained "
            "on",
            short(denoiser.metadata.get("sequences")),
            short(users.fingerprint),
        )
    layout = (
        users,
        table,
        residual_rows(denoiser.metadata.get("known_items", []), table.item_ids),
        to_lattice(lattice),
        evaluation,
        int(denoiser.metadata["max_history"]),
    )
    if evaluation.engine == "ray":
        from sidiff.engines.inference import RayEvaluator

        return RayEvaluator(*layout, address=ray_address)
    return Evaluator(*layout)
