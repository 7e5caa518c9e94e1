"""Training of denoisers, and figures of their epochs."""

# Every Kedro command imports this module; what is slow to import waits for the run.
# ruff: noqa: PLC0415

from __future__ import annotations

import logging
from collections.abc import Mapping
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

    from sidiff.training.denoising import Job

logger = logging.getLogger(__name__)


def train_denoiser(
    sequences: pl.DataFrame,
    catalogue: pl.DataFrame,
    training_samples: pl.DataFrame,
    sid_table: pl.DataFrame,
    training: TrainingParameters,
    max_history: int,
    checkpoints: SnapshotFolder,
    ray_address: str | None,
) -> tuple[Model, pl.DataFrame, pl.DataFrame]:
    """Train the denoiser; return it, one row per epoch, and shares of masked digits."""
    from sidiff.engines.launch import train

    data = sequences, catalogue, training_samples, sid_table
    job = to_job(*data, training, max_history, checkpoints)
    fitted = train(job, log_figures, ray_address)
    return Model(fitted.weights, fitted.config), fitted.history, fitted.masking


def train_more_seeds(
    sequences: pl.DataFrame,
    catalogue: pl.DataFrame,
    training_samples: pl.DataFrame,
    sid_table: pl.DataFrame,
    training: TrainingParameters,
    seeds: list[int],
    max_history: int,
    checkpoints: SnapshotFolder,
    ray_address: str | None,
) -> Model:
    """Train a denoiser with every other seed of the comparison."""
    data = sequences, catalogue, training_samples, sid_table
    job = to_job(*data, training, max_history, checkpoints)
    others = {
        str(seed): job.parameters.model_copy(update={"seed": seed})
        for seed in seeds
        if seed != job.parameters.seed
    }
    models, _ = train_many(job, others, ray_address)
    return models


def train_many(
    job: Job, settings: Mapping[str, TrainingParameters], ray_address: str | None
) -> tuple[Model, dict[str, pl.DataFrame]]:
    """Train a denoiser with each of the settings.

    Returns:
        The networks of ``join_models``, and the history of each, by name.
    """
    from sidiff.engines.launch import train

    models, histories = {}, {}
    for number, (name, parameters) in enumerate(settings.items(), 1):
        logger.info("Training %d of %d: %s", number, len(settings), name)
        one = replace(job, parameters=parameters)
        fitted = train(one, lambda epoch, figures: None, ray_address)
        models[name] = Model(fitted.weights, fitted.config)
        histories[name] = fitted.history
    return join_models(models), histories


def plot_training(
    training_history: pl.DataFrame, masking_history: pl.DataFrame
) -> tuple[Interactive, Figure]:
    """Draw losses, validation scores and masked digits over the epochs."""
    from sidiff.training.figures import masking_figure, training_figure

    return training_figure(training_history), masking_figure(masking_history)
