"""The baselines: trained, and ranked on the test split."""

# Every Kedro command imports this module; what is slow to import waits for the run.
# ruff: noqa: PLC0415

from __future__ import annotations

from typing import Any

import polars as pl

from sidiff.baselines.settings import BaselinesParameters
from sidiff.datasets import Model
from sidiff.evaluation.settings import EvaluationParameters
from sidiff.pipelines.frames import to_samples, to_sequences, to_sid_table
from sidiff.snapshots import SnapshotFolder
from sidiff.training.settings import TrainingParameters

_LEFT_OUT = Model({}, {"seeds": []})
"""What is stored for a model whose method is not among the parameters."""


def fit_sasrec(
    sequences: pl.DataFrame,
    catalogue: pl.DataFrame,
    baselines: BaselinesParameters,
    seeds: list[int],
    max_history: int,
    checkpoints: SnapshotFolder,
) -> tuple[Model, list[dict[str, Any]]]:
    """Tune and train SASRec; return its weights and the settings tried."""
    from sidiff.baselines.run import tune_sasrec

    if not {"sasrec", "sasrec_markov"} & set(baselines.methods):
        return _LEFT_OUT, []
    fitted = tune_sasrec(
        to_sequences(sequences, catalogue), baselines, max_history, seeds, checkpoints
    )
    return Model(fitted.weights, fitted.config), fitted.tried


def fit_autoregressive(
    sequences: pl.DataFrame,
    catalogue: pl.DataFrame,
    training_samples: pl.DataFrame,
    sid_table: pl.DataFrame,
    baselines: BaselinesParameters,
    training: TrainingParameters,
    seeds: list[int],
    max_history: int,
    checkpoints: SnapshotFolder,
) -> Model:
    """Train the autoregressive SID decoder on the denoiser's samples."""
    from sidiff.baselines.run import fit_decoders

    if "autoregressive" not in baselines.methods:
        return _LEFT_OUT
    users = to_sequences(sequences, catalogue)
    fitted = fit_decoders(
        users,
        to_samples(training_samples, users, max_history),
        to_sid_table(sid_table, catalogue),
        baselines,
        training,
        max_history,
        seeds,
        checkpoints,
    )
    return Model(fitted.weights, fitted.config)


def rank_baselines(
    sasrec: Model,
    autoregressive: Model,
    sequences: pl.DataFrame,
    catalogue: pl.DataFrame,
    sid_table: pl.DataFrame,
    baselines: BaselinesParameters,
    evaluation: EvaluationParameters,
    max_history: int,
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Rank the test split by every baseline; return the lists and what they took."""
    from sidiff.baselines import run
    from sidiff.evaluation.filters import allowed_items
    from sidiff.ranking.results import cost_frame

    users = to_sequences(sequences, catalogue)
    table = to_sid_table(sid_table, catalogue)
    ranked = run.rank_baselines(
        users,
        table,
        run.Fitted(sasrec.tensors, sasrec.metadata),
        run.Fitted(autoregressive.tensors, autoregressive.metadata),
        baselines,
        evaluation,
        max_history,
        allowed_items(users.item_ids, evaluation.allow_items, evaluation.deny_items),
    )
    return (
        pl.concat(
            one.results.to_frame(
                one.method, one.seed, table.fingerprint, users.fingerprint
            )
            for one in ranked
        ),
        pl.concat(cost_frame(one.method, one.seed, one.results.cost) for one in ranked),
    )
