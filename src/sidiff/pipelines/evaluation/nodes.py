"""Ranked items, their metrics, and the summary of a whole run."""

# Every Kedro command imports this module; what is slow to import waits for the run.
# ruff: noqa: PLC0415

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import polars as pl

from sidiff.datasets import Model
from sidiff.parameters import EvaluationParameters
from sidiff.pipelines.frames import check_trained_on, to_sequences, to_sid_table
from sidiff.pipelines.tracking import log_metrics

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def evaluate_denoiser(
    denoiser: Model,
    sequences: pl.DataFrame,
    catalogue: pl.DataFrame,
    sid_table: pl.DataFrame,
    parameters: dict[str, Any],
) -> tuple[pl.DataFrame, dict[str, float]]:
    """Recommend items to every user of the test split, and measure the hits."""
    from sidiff.diffusion.denoiser import Denoiser
    from sidiff.evaluation.run import evaluate

    table = to_sid_table(sid_table, catalogue)
    check_trained_on(denoiser, table)
    evaluation = evaluate(
        Denoiser.from_saved(denoiser.tensors, denoiser.metadata),
        to_sequences(sequences, catalogue),
        table,
        EvaluationParameters.model_validate(parameters),
    )
    log_metrics(evaluation.rates)
    return evaluation.recommendations, evaluation.metrics


def plot_metrics(metrics: dict[str, float]) -> Figure:
    """Draw the metrics beside the popularity baseline."""
    from sidiff.evaluation.figures import metrics_figure

    return metrics_figure(metrics)


def summarise_run(
    data_statistics: dict[str, Any],
    sid_report: dict[str, Any],
    metrics: dict[str, float],
    tokenization: dict[str, Any],
    dataset: str,
    preset: str,
) -> dict[str, Any]:
    """Gather what a person wants to know first."""
    why = "as configured"
    if tokenization["quantizer"] == "table":
        why = "as in the table given"
    elif tokenization["codes"] == "auto":
        why = f"fitted to {data_statistics['training_items']:,} training items"
    return {
        "dataset": dataset,
        "preset": preset,
        "data": data_statistics,
        "semantic_ids": sid_report,
        "codes_reason": why,
        "metrics": metrics,
    }
