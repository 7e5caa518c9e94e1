"""Tracking of a run beyond kedro-mlflow: versions, code, figures, methods."""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path, PurePosixPath
from typing import Any

import polars as pl
import polars.selectors as cs
from kedro.framework.hooks import hook_impl
from kedro.io import DataCatalog
from kedro.io.core import VersionNotFoundError
from kedro.pipeline import Pipeline

from sidiff.datasets import Stored
from sidiff.errors import find_problem
from sidiff.parameters import Parameters
from sidiff.pipeline_registry import PIPELINES
from sidiff.pipelines.tracking import active_mlflow
from sidiff.storage import redacted

REPORTS: dict[str, tuple[str, tuple[str, ...] | None]] = {
    "ingestion_report": ("ingestion", ("rejected_lines",)),
    "data_statistics": ("data", ("users", "items", "interactions")),
    "sid_report": ("sid_report", ("distinct_sids", "quantization_error_relative")),
    "metrics": ("", None),
}
"""Flat reports: prefix and names (None for all) of the numbers logged as metrics.

All numbers of a report are logged as a table."""
COMPARED = ("comparison", "ablation")
"""Comparisons, each method of which is logged as a child run."""
LINEAGE = {"sequences", "sid_table"}
"""Tables that are logged as data sets of a run."""
REPORTING_FOLDER = "08_reporting"
LOCAL = "local"
"""The default environment of a run."""
MLFLOW_TAG = 5000
"""Largest number of characters of an MLflow tag."""


class TrackingHooks:
    """Logs versions, code, data sets, figures and reports to the active MLflow run."""

    def __init__(self) -> None:
        self._lineage: dict[str, Any] = {}

    @hook_impl(tryfirst=True)
    def after_context_created(self) -> None:
        """Silence the messages of kedro-mlflow."""
        # The plugin sets its level when it is imported, after conf/logging.yml is read.
        logging.getLogger("kedro_mlflow").setLevel(logging.WARNING)

    # Last, so that kedro-mlflow has started the run.
    @hook_impl(trylast=True)
    def before_pipeline_run(
        self, run_params: dict[str, Any], pipeline: Pipeline, catalog: DataCatalog
    ) -> None:
        """Tag the run with its code, its configuration and the versions it reads."""
        mlflow = active_mlflow()
        if mlflow is None:
            return
        self._lineage = versioned(LINEAGE & pipeline.datasets(), catalog)
        runs, clock = what_runs(run_params), run_params["run_id"][11:19]
        chosen = {
            name: catalog.load(f"params:{name}")
            for name in ("dataset", "recipe", "preset")
        }
        # The plugin's tags contain addresses of --params with their passwords.
        of_plugin = mlflow.get_run(mlflow.active_run().info.run_id).data.tags
        tags = {name: redacted(value) for name, value in of_plugin.items()} | {
            "mlflow.runName": " ".join([runs, *chosen.values(), clock]),
            # The plugin's command lacks --params.
            "kedro_command": redacted(" ".join(["kedro", *sys.argv[1:]])),
            "env": run_params["env"] or LOCAL,
            "storage": redacted(catalog.load("params:storage")),
            "pipeline": runs,
            "save_version": run_params["run_id"],
            **chosen,
            "git.commit": git_commit(Path(run_params["project_path"])),
        }
        for name, dataset in versioned(pipeline.inputs(), catalog).items():
            try:
                tags[f"input.{name}"] = dataset.resolve_load_version()
            except VersionNotFoundError:
                tags[f"input.{name}"] = "none"
        mlflow.set_tags(tags)

    # First, because kedro-mlflow flattens dicts, but not models. The node gets another
    # dict of inputs.
    @hook_impl(tryfirst=True)
    def before_node_run(self, inputs: dict[str, Any]) -> None:
        """Convert a node's settings to dicts for kedro-mlflow."""
        # The nodes that use a group of parameters log it.
        inputs.pop("parameters", None)
        for name, value in inputs.items():
            if isinstance(value, Parameters):
                inputs[name] = value.model_dump(mode="json")

    @hook_impl
    def after_dataset_loaded(self, dataset_name: str, data: Any) -> None:
        """Log the data sets of ``LINEAGE`` as inputs of the run."""
        mlflow = active_mlflow()
        dataset = self._lineage.pop(dataset_name, None)
        if mlflow is None or dataset is None:
            return
        stamp = dataset.stamp()
        frame = data.head(1000).select(cs.exclude(cs.unsigned_integer()))
        about = {
            "name": dataset_name,
            "digest": stamp.sha256[:36] if stamp else None,
        }
        try:
            address = dataset.loaded_address()
            table = mlflow.data.from_polars(frame, source=address, **about)
        except mlflow.MlflowException:  # MLflow does not support the store
            table = mlflow.data.from_polars(frame, **about)
        mlflow.log_input(table)

    @hook_impl
    def after_dataset_saved(self, dataset_name: str, data: Any) -> None:
        """Log the numbers of a flat report, or a child run for each method."""
        mlflow = active_mlflow()
        if mlflow is None:
            return
        if dataset_name in COMPARED:
            _log_methods(mlflow, data)
        if dataset_name not in REPORTS:
            return
        if dataset_name == "ingestion_report":
            mlflow.set_tags(
                {
                    f"input.raw_{name}": f"{data[name]['file']} {data[name]['sha256']}"
                    for name in ("reviews", "metadata")
                }
            )
        figures = {
            key: float(value)
            for key, value in data.items()
            if isinstance(value, int | float)
        }
        prefix, names = REPORTS[dataset_name]
        mlflow.log_metrics(
            {
                f"{prefix}/{key}" if prefix else key: value
                for key, value in figures.items()
                if names is None or key in names
            }
        )
        table = {"figure": [*figures], "value": [*figures.values()]}
        mlflow.log_table(table, f"tables/{dataset_name}.json")

    # First, so that kedro-mlflow has not ended the run yet.
    @hook_impl(tryfirst=True)
    def on_pipeline_error(self, error: Exception) -> None:
        """Tag the run with the sentence of the error."""
        if mlflow := active_mlflow():
            sentence = redacted(str(find_problem(error) or error))
            mlflow.set_tag("error", sentence[:MLFLOW_TAG])

    # First, so that kedro-mlflow has not ended the run yet.
    @hook_impl(tryfirst=True)
    def after_pipeline_run(self, pipeline: Pipeline, catalog: DataCatalog) -> None:
        """Tag the run with its outputs' versions, and attach figures and reports."""
        mlflow = active_mlflow()
        if mlflow is None:
            return
        stored = written(pipeline, catalog)
        mlflow.set_tags(
            {
                f"output.{name}": dataset.resolve_save_version()
                for name, dataset in stored.items()
            }
        )
        for name, dataset in stored.items():
            path = PurePosixPath(dataset.stored_address())
            report = REPORTING_FOLDER in path.parts or name in REPORTS
            if report and path.suffix in (".json", ".md", ".png", ".html"):
                with dataset.stored_file() as file:
                    mlflow.log_artifact(str(file))


def _log_methods(mlflow: Any, table: pl.DataFrame) -> None:
    """Log a child run for every method, and a child run of it for every seed.

    MLflow's tables and charts compare runs, not figures of one run.
    """

    def log(rows: pl.DataFrame, **tags: Any) -> None:
        mlflow.set_tags(tags)
        mlflow.log_metrics(
            {
                f"{row['level']}/{row['metric']}": row["mean"]
                for row in rows.iter_rows(named=True)
                if row["mean"] is not None
            }
        )

    for (method, kind), own in table.group_by("method", "kind", maintain_order=True):
        with mlflow.start_run(run_name=str(method), nested=True):
            log(own.filter(by="all"), method=method, kind=kind)
            of_seeds = own.filter(by="seed").group_by("bucket", maintain_order=True)
            for (seed,), rows in of_seeds:
                with mlflow.start_run(run_name=f"{method}, seed {seed}", nested=True):
                    log(rows, method=method, kind=kind, seed=seed)


def what_runs(run_params: dict[str, Any]) -> str:
    """The pipelines of a run in order, and the options that select nodes."""
    order = list(PIPELINES)
    names = sorted(
        run_params["pipeline_names"] or ["full"],
        key=lambda name: order.index(name) if name in order else -1,
    )
    chosen = [
        f"{option}={','.join(run_params[option])}"
        for option in ("tags", "namespaces", "from_nodes", "to_nodes", "node_names")
        if run_params.get(option)
    ]
    return " ".join([", ".join(names), *chosen])


def git_commit(project: Path) -> str:
    """The commit, with -dirty if files differ from it; empty outside git."""
    try:
        return subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"],  # noqa: S607
            cwd=project,
            capture_output=True,
            text=True,
            check=True,
            timeout=10,
        ).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""


def versioned(names: set[str], catalog: DataCatalog) -> dict[str, Any]:
    """The versioned data sets among ``names``, by name."""
    datasets = {name: catalog.get(name) for name in sorted(names)}
    return {
        name: dataset
        for name, dataset in datasets.items()
        if isinstance(dataset, Stored)
    }


def written(pipeline: Pipeline, catalog: DataCatalog) -> dict[str, Any]:
    """The outputs that the run has stored; skipped nodes have none."""
    return {
        name: dataset
        for name, dataset in versioned(pipeline.all_outputs(), catalog).items()
        if dataset.is_stored()
    }
