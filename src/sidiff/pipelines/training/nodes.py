"""The denoiser: trained, and its epochs drawn."""

# Every Kedro command imports this module; what is slow to import waits for the run.
# ruff: noqa: PLC0415

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import polars as pl

from sidiff.datasets import Model
from sidiff.parameters import TrainingParameters
from sidiff.pipelines.frames import to_samples, to_sequences, to_sid_table
from sidiff.pipelines.tracking import log_epoch

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def train_denoiser(
    sequences: pl.DataFrame,
    catalogue: pl.DataFrame,
    training_samples: pl.DataFrame,
    sid_table: pl.DataFrame,
    parameters: dict[str, Any],
    max_history: int,
) -> tuple[Model, pl.DataFrame]:
    """Train, and return the best epoch's denoiser and one row per epoch."""
    from sidiff.training.loop import fit

    users = to_sequences(sequences, catalogue)
    fitted = fit(
        users,
        to_samples(training_samples, users, max_history),
        to_sid_table(sid_table, catalogue),
        TrainingParameters.model_validate(parameters),
        max_history,
        log_epoch,
    )
    return Model(fitted.weights, fitted.config), fitted.history


def plot_training(training_history: pl.DataFrame) -> Figure:
    """Draw the losses and the validation score over the epochs."""
    from sidiff.training.figures import training_figure

    return training_figure(training_history)
