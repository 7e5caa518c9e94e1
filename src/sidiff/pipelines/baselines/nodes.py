"""Training of the baselines, and their ranking of the test split."""

# Every Kedro command imports this module; what is slow to import waits for the run.
# ruff: noqa: PLC0415

from __future__ import annotations

from typing import Any

import polars as pl

from sidiff.baselines.settings import BaselinesParameters
from sidiff.datasets import Model
from sidiff.evaluation.settings import EvaluationParameters
from sidiff.pipelines.frames import join_models, split_models, to_samples, to_sequences
from sidiff.sids.table import SidTable
from sidiff.snapshots import SnapshotFolder
from sidiff.training.settings import TrainingParameters


def fit_baselines(
    sequences: pl.DataFrame,
    catalogue: pl.DataFrame,
    training_samples: pl.DataFrame,
    sid_table: pl.DataFrame,
    baselines: BaselinesParameters,
    training: TrainingParameters,
    seeds: list[int],
    max_history: int,
    checkpoints: SnapshotFolder,
) -> tuple[Model, list[dict[str, Any]]]:
    """Train the networks of all methods; also return the settings compared."""
    from sidiff.baselines import run
    from sidiff.baselines.method import TrainingInputs

    users = to_sequences(sequences, catalogue)
    stored, compared = run.fit_baselines(
        TrainingInputs(
            users,
            to_samples(training_samples, max_history),
            SidTable.from_frame(sid_table),
            baselines,
            training,
            max_history,
            seeds,
            checkpoints,
        )
    )
    models = {name: Model(*network) for name, network in stored.items()}
    return join_models(models), compared


def rank_baselines(
    baseline_networks: Model,
    sequences: pl.DataFrame,
    catalogue: pl.DataFrame,
    sid_table: pl.DataFrame,
    baselines: BaselinesParameters,
    evaluation: EvaluationParameters,
    max_history: int,
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Rank the test split by every baseline; return the lists and their costs."""
    from sidiff.baselines import run
    from sidiff.evaluation.filters import allowed_items
    from sidiff.ranking.results import result_frames

    users = to_sequences(sequences, catalogue)
    table = SidTable.from_frame(sid_table)
    ranked = run.rank_baselines(
        users,
        table,
        split_models(baseline_networks),
        baselines,
        evaluation,
        max_history,
        allowed_items(
            users.item_ids, evaluation.allow_items, evaluation.deny_items, "evaluation"
        ),
    )
    return result_frames(ranked)
