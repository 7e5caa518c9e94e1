"""Kedro's settings for this project."""

from __future__ import annotations

import os

# Nothing leaves the machine by default. The libraries read these when they are
# imported, and whoever sets them already keeps their choice.
os.environ.setdefault("DO_NOT_TRACK", "true")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
# MLflow installs a console handler of its own.
os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
# Log the use of processor and memory with each run.
os.environ.setdefault("MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING", "true")
# Figures are files here; no window system is looked for.
os.environ.setdefault("MPLBACKEND", "Agg")

from pathlib import Path
from typing import Any

import yaml
from kedro.framework.project import LOGGING
from kedro.utils import find_kedro_project
from omegaconf.resolvers import oc

from sidiff.context import SidiffContext, folder, raw_path
from sidiff.hooks import InputHooks, ProgressHooks
from sidiff.lineage import LineageHooks
from sidiff.mlflow_hooks import TrackingHooks
from sidiff.presets import PresetConfigLoader
from sidiff.statistics import StatisticsHooks

CONTEXT_CLASS = SidiffContext
HOOKS = (
    InputHooks(),
    LineageHooks(),
    ProgressHooks(),
    StatisticsHooks(),
    TrackingHooks(),
)
DISABLE_HOOKS_FOR_PLUGINS = ("kedro-telemetry",)
CONFIG_LOADER_CLASS = PresetConfigLoader
CONFIG_LOADER_ARGS: dict[str, Any] = {
    "base_env": "base",
    "default_run_env": "local",
    # An environment overlays single values, also inside a group.
    "merge_strategy": {"parameters": "soft", "globals": "soft", "mlflow": "soft"},
    "custom_resolvers": {
        "folder": folder,
        "raw_path": raw_path,
        # Kedro has it for credentials only; a container is told its places this way.
        "oc.env": oc.env,
    },
}


def _set_logging_up() -> None:
    """Read conf/logging.yml of the project from wherever a command or notebook runs.

    Kedro looks for it in the working folder alone.
    """
    here = Path.cwd()
    project = find_kedro_project(here) or here
    file = project / "conf" / "logging.yml"
    if project == here or "KEDRO_LOGGING_CONFIG" in os.environ or not file.is_file():
        return
    os.environ["KEDRO_LOGGING_CONFIG"] = str(file)  # for worker processes
    LOGGING.configure(yaml.safe_load(file.read_text(encoding="utf-8")))


_set_logging_up()
