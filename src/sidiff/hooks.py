"""Hooks around a run: inputs checked, progress shown."""

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
from sidiff.pipeline_registry import stage_that_makes
from sidiff.pipelines.tracking import active_mlflow
from sidiff.reviews.tables import column_names
from sidiff.tracked import LOCAL, versioned, what_runs, written

logger = logging.getLogger(__name__)

RESULTS = (
    "run_report",
    "test_lists",
    "comparison_table",
    "comparison_figure",
    "metrics",
    "sid_report",
    "bundle",
)
"""Data sets that the summary on the screen points to."""


class InputHooks:
    """A stage needs what earlier ones stored, and that nobody changes it meanwhile."""

    def __init__(self) -> None:
        self._locks_lie_in = Path()
        self._lock = RunLock()

    @hook_impl
    def after_context_created(self, context: Any) -> None:
        """Keep where locks lie."""
        self._locks_lie_in = context.locks_lie_in

    # First of all hooks, so that a refused run leaves no trace in MLflow.
    @hook_impl(tryfirst=True)
    def before_pipeline_run(self, pipeline: Pipeline, catalog: DataCatalog) -> None:
        """Check that every stored input has the version that will be read.

        Raises:
            SidiffError: names the first one that is missing, and who makes it; a
                parameter names a file or a device that is not there; the generator
                would write over real raw files; or another run is at work on the same.
        """
        parameters = {
            name: catalog.load(f"params:{name}")
            for name in GROUPS
            if f"params:{name}" in pipeline.inputs()
        }
        _check_files(parameters)
        _check_devices(parameters, pipeline.all_outputs())
        if "params:ray.address" in pipeline.inputs():
            _check_cluster(parameters, catalog.load("params:ray.address"))
        only_shop = {"raw_reviews", "raw_metadata"} == pipeline.all_outputs()
        if only_shop and catalog.load("params:source") != "sample":
            raise SidiffError(
                "The synthetic shop would be written over real raw files; run "
                "sample_data without --env and without raw_reviews and raw_metadata."
            )
        for name, dataset in versioned(pipeline.inputs(), catalog).items():
            if dataset.exists():
                continue
            stored = dataset.list_versions(full_path=False)
            if stored:
                raise SidiffError(
                    f"{name} has no version {dataset.resolve_load_version()}; stored "
                    f"are {', '.join(stored[:5])}."
                )
            stage = stage_that_makes(name.removeprefix("previous_"))
            raise SidiffError(
                f"{name} was never stored; make it with kedro run --pipeline={stage} "
                "(and the same --env), or run the whole with --pipeline=full."
            )
        # Raw files are not among them: they are nobody's, or the generator's, which
        # makes the same bytes of the same settings.
        writes, reads = (
            {name: data.address() for name, data in versioned(names, catalog).items()}
            for names in (pipeline.all_outputs(), pipeline.inputs())
        )
        self._lock.take(self._locks_lie_in, writes, reads)

    @hook_impl(trylast=True)
    def after_pipeline_run(self, pipeline: Pipeline, catalog: DataCatalog) -> None:
        """Remove the snapshots that led to what is now stored; let other runs at it.

        Snapshots stay until the whole run has ended well, and not only the node that
        made them: where a later node fails, the same command does not train anew.
        """
        for name in sorted(pipeline.inputs()):
            dataset = catalog.get(name)
            if isinstance(dataset, UnfinishedWork):
                dataset.load().clear()
        self._lock.give_back()

    @hook_impl(trylast=True)
    def on_pipeline_error(self) -> None:
        """Let other runs at what this one used."""
        self._lock.give_back()


def _check_files(parameters: dict[str, Any]) -> None:
    """Read the files that parameters name now, not after hours of training."""
    for group, name in (
        *(("evaluation", "allow_items"), ("evaluation", "deny_items")),
        *(("recommend", "allow_items"), ("recommend", "deny_items")),
        ("update", "removed_items"),
    ):
        if path := getattr(parameters.get(group), name, None):
            read_ids(path, name if group == "update" else f"{group}.{name}")
    for group, name in (("recommend", "histories"), ("update", "new_items")):
        if path := getattr(parameters.get(group), name, None):
            column_names(Path(path).expanduser())


def _check_devices(parameters: dict[str, Any], outputs: set[str]) -> None:
    trains = outputs & {"denoiser", "seed_denoisers", "variant_denoisers"}
    training = parameters.get("training")
    if training and trains and training.engine == "ddp" and training.device == "auto":
        from sidiff.engines.processes import check_devices  # noqa: PLC0415 (torch)

        check_devices(training.device, training.workers)
    asking = [
        name
        for name, settings in parameters.items()
        # On a cluster the GPUs are elsewhere.
        if getattr(settings, "device", "auto") == "cuda"
        and getattr(settings, "engine", "local") != "ray"
    ]
    if not asking:
        return
    from torch.cuda import is_available  # noqa: PLC0415 (slow to import)

    if not is_available():
        raise SidiffError(
            f"{asking[0]}.device is cuda, but torch sees no CUDA device; set it to "
            "auto or cpu."
        )


def _check_cluster(parameters: dict[str, Any], address: str | None) -> None:
    if any(getattr(group, "engine", "local") == "ray" for group in parameters.values()):
        from sidiff.engines.cluster import check_cluster  # noqa: PLC0415

        check_cluster(address)


class ProgressHooks:
    """One line per finished node, and the figures at the end."""

    def __init__(self) -> None:
        self._nodes = self._done = 0
        self._began = 0.0
        self._node_began: dict[str, float] = {}

    @hook_impl
    def before_pipeline_run(
        self, run_params: dict[str, Any], pipeline: Pipeline, catalog: DataCatalog
    ) -> None:
        """Say what is about to run."""
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
        """Say that the node is through, and how long it took."""
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
        """Show the figures of a run that got as far as having them."""
        made = written(pipeline, catalog)
        if run_params["only_missing_outputs"] and not self._done and not made:
            logger.info(
                "Nothing to do: all outputs are stored, with whatever settings they "
                "were made."
            )
        if "run_summary" not in made:
            return
        results = {
            name: made[name].stored_address() for name in RESULTS if name in made
        }
        summary = catalog.load("run_summary")
        if "comparison" in made:
            summary["comparison"] = headlines(catalog.load("comparison"))
        mlflow = active_mlflow()
        drawn = render(
            summary,
            results,
            perf_counter() - self._began,
            mlflow.get_tracking_uri() if mlflow else None,
            run_params["env"] or LOCAL,
        )
        Console().print(drawn, highlight=False)
