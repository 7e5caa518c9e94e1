"""Hooks of a run: checks of its inputs, locks, progress and summary."""

from __future__ import annotations

import logging
from pathlib import Path
from time import perf_counter
from typing import Any

from kedro.framework.hooks import hook_impl
from kedro.io import DataCatalog
from kedro.pipeline import Pipeline
from kedro.pipeline.node import Node
from rich.console import Console

from sidiff.configuration import GROUPS
from sidiff.console import render
from sidiff.datasets import UnfinishedWork
from sidiff.errors import SidiffError
from sidiff.evaluation.filters import read_ids
from sidiff.evaluation.headlines import headlines
from sidiff.locks import RunLock
from sidiff.mlflow_hooks import LOCAL, versioned, what_runs, written
from sidiff.pipeline_registry import stage_that_makes
from sidiff.pipelines.tracking import active_mlflow
from sidiff.reviews.tables import column_names

logger = logging.getLogger(__name__)

RESULTS = (
    "run_report",
    "comparison_table",
    "metrics",
    "test_lists",
    "bundle",
)
"""Data sets whose paths the summary shows."""
SUMMARY_REPORTS = ("metrics", "data_statistics", "sid_report")
"""Data sets whose figures the summary shows."""


class InputHooks:
    """Checks of stored inputs, named files and devices before a run, and its locks.

    They run before all other hooks, so that MLflow has no record of a refused run.
    """

    def __init__(self) -> None:
        self._locks_folder = Path()
        self._lock = RunLock()

    @hook_impl
    def after_context_created(self, context: Any) -> None:
        """Store the folder of the locks."""
        self._locks_folder = context.locks_folder

    @hook_impl(tryfirst=True)
    def before_pipeline_run(self, pipeline: Pipeline, catalog: DataCatalog) -> None:
        """Check the inputs of the run, and lock its inputs and outputs.

        Raises:
            SidiffError: a stored input, a file or a device is missing; the synthetic
                shop would replace real raw files; or another run uses the same data
                sets.
        """
        inputs, outputs = pipeline.inputs(), pipeline.all_outputs()
        parameters = {
            name: catalog.load(f"params:{name}")
            for name in GROUPS
            if f"params:{name}" in inputs
        }
        _check_files(parameters)
        _check_devices(parameters, outputs)
        if "params:ray.address" in inputs:
            _check_cluster(parameters, catalog.load("params:ray.address"))
        only_shop = outputs == {"raw_reviews", "raw_metadata"}
        if only_shop and catalog.load("params:source") != "sample":
            raise SidiffError(
                "The synthetic shop would be written over real raw files; run "
                "sample_data without --env and without raw_reviews and raw_metadata."
            )
        stored = versioned(inputs, catalog)
        for name, dataset in stored.items():
            _check_stored(name, dataset)
        # Raw files have no versions and are not locked: no run changes them, and the
        # generator makes the same bytes from the same settings.
        self._lock.take(
            self._locks_folder,
            {name: one.address() for name, one in versioned(outputs, catalog).items()},
            {name: one.address() for name, one in stored.items()},
        )

    @hook_impl(trylast=True)
    def after_pipeline_run(self, pipeline: Pipeline, catalog: DataCatalog) -> None:
        """Remove the snapshots of finished work, and unlock.

        Snapshots are kept until the whole run has succeeded: after a failure in a later
        node the same command does not train again.
        """
        for name in sorted(pipeline.inputs()):
            dataset = catalog.get(name)
            if isinstance(dataset, UnfinishedWork):
                dataset.load().clear()
        self._lock.give_back()

    @hook_impl(trylast=True)
    def on_pipeline_error(self) -> None:
        """Unlock the data sets."""
        self._lock.give_back()


def _check_stored(name: str, dataset: Any) -> None:
    """Check that the version of an input is stored."""
    if dataset.exists():
        return
    stored = dataset.list_versions(full_path=False)
    if stored:
        raise SidiffError(
            f"{name} has no version {dataset.resolve_load_version()}; stored "
            f"are {', '.join(stored[:5])}."
        )
    stage = stage_that_makes(name.removeprefix("previous_"))
    raise SidiffError(
        f"{name} was never stored; make it with kedro run --pipeline={stage} "
        "(and the same --env), or make everything with --pipeline=full."
    )


def _check_files(parameters: dict[str, Any]) -> None:
    """Check the files that parameters name, before hours of training."""
    for place in (
        "evaluation.allow_items",
        "evaluation.deny_items",
        "recommend.allow_items",
        "recommend.deny_items",
        "update.removed_items",
        "recommend.histories",
        "update.new_items",
    ):
        group, _, name = place.partition(".")
        path = getattr(parameters.get(group), name, None)
        if path and name in ("histories", "new_items"):
            column_names(Path(path).expanduser())
        elif path:
            # Options of --params omit the group update.
            read_ids(path, name if group == "update" else place)


def _check_devices(parameters: dict[str, Any], outputs: set[str]) -> None:
    """Check that this machine has the GPUs that parameters require."""
    trains = outputs & {"denoiser", "seed_denoisers", "variant_denoisers"}
    training = parameters.get("training")
    if training and trains and training.engine == "ddp" and training.device != "cpu":
        from sidiff.engines.processes import check_devices  # noqa: PLC0415 (torch)

        check_devices(training.device, training.workers)
    for name, settings in parameters.items():
        # With Ray the GPUs belong to the cluster.
        ray = getattr(settings, "engine", "local") == "ray"
        if getattr(settings, "device", "auto") == "cuda" and not ray:
            from torch.cuda import is_available  # noqa: PLC0415 (slow to import)

            if not is_available():
                raise SidiffError(
                    f"{name}.device is cuda, but torch sees no CUDA device; set it to "
                    "auto or cpu."
                )


def _check_cluster(parameters: dict[str, Any], address: str | None) -> None:
    if any(getattr(group, "engine", "local") == "ray" for group in parameters.values()):
        from sidiff.engines.cluster import check_cluster  # noqa: PLC0415

        check_cluster(address)


class ProgressHooks:
    """Log lines of finished nodes, and the summary at the end."""

    def __init__(self) -> None:
        self._nodes = self._done = 0
        self._began = 0.0
        self._node_began: dict[str, float] = {}

    @hook_impl
    def before_pipeline_run(
        self, run_params: dict[str, Any], pipeline: Pipeline, catalog: DataCatalog
    ) -> None:
        """Log the pipelines, the data set and the version of the run."""
        self._nodes, self._done = len(pipeline.nodes), 0
        self._began = perf_counter()
        logger.info(
            "Pipeline %s, data set %s, version %s",
            what_runs(run_params),
            catalog.load("params:dataset"),
            run_params["run_id"],
        )

    @hook_impl
    def before_node_run(self, node: Node) -> None:
        """Start the node's clock."""
        self._node_began[node.name] = perf_counter()

    @hook_impl
    def after_node_run(self, node: Node) -> None:
        """Log the finished node and its seconds."""
        self._done += 1
        seconds = perf_counter() - self._node_began.pop(node.name)
        logger.info(
            "%2d/%d  %-22s %6.1f s", self._done, self._nodes, node.name, seconds
        )

    # First, so that kedro-mlflow has not ended the run yet.
    @hook_impl(tryfirst=True)
    def after_pipeline_run(
        self, run_params: dict[str, Any], pipeline: Pipeline, catalog: DataCatalog
    ) -> None:
        """Print the summary of a run with an evaluation or a comparison."""
        made = written(pipeline, catalog)
        if run_params["only_missing_outputs"] and not self._done and not made:
            logger.info(
                "Nothing to do: all outputs are stored, with these settings or others."
            )
        if made.keys().isdisjoint({"metrics", "comparison"}):
            return
        summary = render(
            {
                name: catalog.load(name)
                for name in SUMMARY_REPORTS
                if catalog.exists(name)
            },
            headlines(catalog.load("comparison")) if "comparison" in made else [],
            {name: made[name].stored_address() for name in RESULTS if name in made},
            perf_counter() - self._began,
            _runs(run_params["env"] or LOCAL),
        )
        Console().print(summary, highlight=False)


def _runs(env: str) -> str | None:
    """The address of MLflow's server, or the command that starts it.

    None for a run without tracking.
    """
    mlflow = active_mlflow()
    if mlflow is None:
        return None
    address: str = mlflow.get_tracking_uri()
    if address.startswith("http"):
        return address
    return "kedro mlflow ui" if env == LOCAL else f"kedro mlflow ui --env={env}"
