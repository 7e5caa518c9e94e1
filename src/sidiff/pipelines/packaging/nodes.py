"""Nodes that make a bundle of the results of the stages, and register it."""

# Every Kedro command imports this module; what is slow to import waits for the run.
# ruff: noqa: PLC0415

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import polars as pl

from sidiff.datasets import Model
from sidiff.evaluation.settings import BootstrapParameters, EvaluationParameters
from sidiff.pipelines.frames import check_trained_on, to_lattice, to_sequences
from sidiff.pipelines.tracking import active_mlflow
from sidiff.sids.table import SidTable
from sidiff.training.settings import TrainingParameters

if TYPE_CHECKING:
    from sidiff.serving import Bundle


def make_bundle(
    denoiser: Model,
    sequences: pl.DataFrame,
    catalogue: pl.DataFrame,
    sid_table: pl.DataFrame,
    lattice: Model,
    evaluation: EvaluationParameters,
    dataset: str,
) -> Bundle:
    """The bundle of a network and its items, of the same SID table."""
    from sidiff.diffusion.networks import network_from_saved
    from sidiff.serving import making

    table = SidTable.from_frame(sid_table)
    check_trained_on(denoiser, table)
    users = to_sequences(sequences, catalogue)
    return making.make_bundle(
        network_from_saved(*denoiser),
        denoiser.metadata.get("known_items", []),
        users,
        catalogue["title"],
        table,
        to_lattice(lattice),
        evaluation,
        {
            "dataset": dataset,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "sid_table": table.fingerprint,
            "sequences": users.fingerprint,
            "trained_on": denoiser.metadata.get("sequences"),
            "seed": denoiser.metadata.get("seed"),
            # Test figures belong to a later layer; MLflow has them with the run.
            "metrics": {
                name: denoiser.metadata.get(name)
                for name in ("best_score", "best_epoch", "epochs_run")
            },
        },
    )


def register_bundle(
    bundle: Bundle,
    sequences: pl.DataFrame,
    catalogue: pl.DataFrame,
    training: TrainingParameters,
    bootstrap: BootstrapParameters,
    dataset: str,
) -> dict[str, Any]:
    """Register the bundle with MLflow, as champion if it ranks better than the last."""
    from sidiff.pipelines.packaging.registry import register
    from sidiff.serving.validation import ValidationUsers
    from sidiff.training.denoising import validation_samples

    name = f"sidiff-{dataset}"
    mlflow = active_mlflow()
    if mlflow is None:
        return {"model": name, "version": None, "reason": "no MLflow run is active"}
    users = to_sequences(sequences, catalogue)
    samples = validation_samples(
        users,
        int(bundle.network["max_history"]),
        training.validation.max_users,
        training.seed,
    )
    return register(
        mlflow,
        bundle,
        ValidationUsers.of(users, samples),
        name,
        bootstrap,
    )
