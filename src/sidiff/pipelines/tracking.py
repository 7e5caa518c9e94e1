"""Logging of figures to an active MLflow run."""

from __future__ import annotations

import sys
from typing import Any


def active_mlflow() -> Any | None:
    """Return the ``mlflow`` module if a run is active.

    kedro-mlflow imports the module and starts the run. Without the plugin there is no
    module, and with tracking disabled there is no run.
    """
    mlflow = sys.modules.get("mlflow")
    return mlflow if mlflow is not None and mlflow.active_run() else None


def log_figures(epoch: int | None, figures: dict[str, float]) -> None:
    """Log figures to the active run, with the epoch as the step."""
    if mlflow := active_mlflow():
        mlflow.log_metrics(figures, step=epoch)
