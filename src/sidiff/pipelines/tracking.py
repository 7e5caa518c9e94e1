"""MLflow figures, logged where a run is active."""

from __future__ import annotations

import sys
from typing import Any


def active_mlflow() -> Any | None:
    """Return the ``mlflow`` module if a run is active.

    Never imports it: kedro-mlflow does that and starts the run, so without the
    plugin there is no module, and with tracking disabled no run.
    """
    mlflow = sys.modules.get("mlflow")
    return mlflow if mlflow is not None and mlflow.active_run() else None


def log_figures(epoch: int | None, figures: dict[str, float]) -> None:
    """Log figures to the active run, those of an epoch with it as the step."""
    if mlflow := active_mlflow():
        mlflow.log_metrics(figures, step=epoch)
