"""The denoiser: trained, and its epochs drawn."""

# Every Kedro command imports this module; what is slow to import waits for the run.
# ruff: noqa: PLC0415

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import polars as pl

from sidiff.datasets import Model
from sidiff.pipelines.frames import join_models, to_job
from sidiff.pipelines.tracking import log_figures
from sidiff.snapshots import SnapshotFolder
from sidiff.training.settings import TrainingParameters

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from plotly.graph_objects import Figure as Interactive


def train_denoiser(
    sequences: pl.DataFrame,
    catalogue: pl.DataFrame,
    training_samples: pl.DataFrame,
    sid_table: pl.DataFrame,
    lattice: Model,
    training: TrainingParameters,
    max_history: int,
    checkpoints: SnapshotFolder,
    ray_address: str | None,
) -> tuple[Model, pl.DataFrame, pl.DataFrame]:
    """Train; the best epoch's denoiser, one row per epoch, and what was masked."""
    from sidiff.engines.launch import train

    job = to_job(
        sequences,
        catalogue,
        training_samples,
        sid_table,
        lattice,
        training,
        max_history,
        checkpoints,
    )
    fitted = train(job, log_figures, ray_address)
    return Model(fitted.weights, fitted.config), fitted.history, fitted.masking


def train_more_seeds(
    sequences: pl.DataFrame,
    catalogue: pl.DataFrame,
    training_samples: pl.DataFrame,
    sid_table: pl.DataFrame,
    lattice: Model,
    training: TrainingParameters,
    seeds: list[int],
    max_history: int,
    checkpoints: SnapshotFolder,
    ray_address: str | None,
) -> Model:
    """Train one denoiser more for every seed to compare beside the main one."""
    from sidiff.engines.launch import train

    job = to_job(
        sequences,
        catalogue,
        training_samples,
        sid_table,
        lattice,
        training,
        max_history,
        checkpoints,
    )
    models: dict[str, Model] = {}
    for seed in seeds:
        if seed != job.parameters.seed:
            other = replace(
                job, parameters=job.parameters.model_copy(update={"seed": seed})
            )
            fitted = train(other, lambda epoch, figures: None, ray_address)
            models[str(seed)] = Model(fitted.weights, fitted.config)
    return join_models(models)


def plot_training(
    training_history: pl.DataFrame, masking_history: pl.DataFrame
) -> tuple[Interactive, Figure]:
    """Draw losses, validation scores and masked digits over the epochs."""
    from sidiff.training.figures import masking_figure, training_figure

    return training_figure(training_history), masking_figure(masking_history)
