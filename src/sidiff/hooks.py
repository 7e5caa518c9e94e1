"""What happens around a run: inputs checked, progress shown, everything tracked."""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path, PurePosixPath
from time import perf_counter
from typing import Any

import polars as pl
import polars.selectors as cs
from kedro.framework.hooks import hook_impl
from kedro.io import DataCatalog
from kedro.io.core import VersionNotFoundError
from kedro.pipeline import Pipeline
from kedro.pipeline.node import Node

from sidiff.console import show_summary
from sidiff.datasets import Stored, UnfinishedWork
from sidiff.errors import SidiffError, find_problem
from sidiff.evaluation.filters import read_ids
from sidiff.evaluation.headlines import headlines
from sidiff.fingerprints import of_texts
from sidiff.locks import RunLock
from sidiff.parameters import GROUPS
from sidiff.pipeline_registry import PIPELINES
from sidiff.pipelines.frames import MADE_OF
from sidiff.pipelines.tracking import active_mlflow
from sidiff.reviews.tables import column_names
from sidiff.sids.table import read_table
from sidiff.storage import redacted

logger = logging.getLogger(__name__)

REPORTS = {
    "ingestion_report": "ingestion",
    "data_statistics": "data",
    "sid_report": "sid_report",
    "metrics": "",
}
"""Flat reports whose numbers become MLflow metrics, with their prefix there."""
COMPARED = ("comparison", "ablation")
"""Tables of methods, each of which becomes a run below the one that made them."""
LINEAGE = {"sequences": MADE_OF, "sid_table": None}
"""Tables that MLflow shows as data sets of a run; their column with a fingerprint."""
REPORTING_FOLDER = "08_reporting"
MLFLOW_TAG = 5000
"""Characters of a tag, at most, of which MLflow keeps all."""
RESULTS = (
    "run_report",
    "test_lists",
    "comparison_table",
    "comparison_figure",
    "metrics",
    "metrics_figure",
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
        _check_files(parameters, pipeline.all_outputs())
        _check_devices(parameters, pipeline.all_outputs())
        if "params:ray.address" in pipeline.inputs():
            _check_cluster(parameters, catalog.load("params:ray.address"))
        only_shop = {"raw_reviews", "raw_metadata"} == pipeline.all_outputs()
        if only_shop and catalog.load("params:source") != "sample":
            raise SidiffError(
                "The synthetic shop would be written over real raw files; run "
                "sample_data without --env and without raw_reviews and raw_metadata."
            )
        for name, dataset in _versioned(pipeline.inputs(), catalog).items():
            if dataset.exists():
                continue
            stored = dataset.list_versions(full_path=False)
            if stored:
                raise SidiffError(
                    f"{name} has no version {dataset.resolve_load_version()}; stored "
                    f"are {', '.join(stored[:5])}."
                )
            made = name.removeprefix("previous_")
            stage = next(
                stage
                for stage, module in PIPELINES.items()
                if made in module.create_pipeline().all_outputs()
            )
            raise SidiffError(
                f"{name} was never stored; make it with kedro run --pipeline={stage} "
                "(and the same --env), or run the whole with --pipeline=full."
            )
        # Raw files are not among them: they are nobody's, or the generator's, which
        # makes the same bytes of the same settings.
        writes, reads = (
            {
                name: dataset.address()
                for name, dataset in _versioned(names, catalog).items()
            }
            for names in (pipeline.all_outputs(), pipeline.inputs())
        )
        self._lock.take(self._locks_lie_in, writes, reads)

    @hook_impl(trylast=True)
    def after_pipeline_run(self) -> None:
        """Let other runs at what this one used."""
        self._lock.give_back()

    @hook_impl(trylast=True)
    def on_pipeline_error(self) -> None:
        """The same after a failure."""
        self._lock.give_back()


def _check_files(parameters: dict[str, Any], outputs: set[str]) -> None:
    """Read the files that parameters name now, not after hours of training."""
    tokenization = parameters.get("tokenization", {})
    if tokenization.get("quantizer") == "table" and "sid_table" in outputs:
        read_table(Path(tokenization["table"]).expanduser())
    for group in ("evaluation", "recommend"):
        for name in ("allow_items", "deny_items"):
            path = parameters.get(group, {}).get(name)
            if path is not None:
                read_ids(path, f"{group}.{name}")
    tables = [
        parameters.get("recommend", {}).get("histories"),
        parameters.get("update", {}).get("new_items"),
    ]
    for table in tables:
        if table is not None:
            column_names(Path(table).expanduser())
    removed = parameters.get("update", {}).get("removed_items")
    if removed is not None:
        read_ids(removed, "removed_items")


def _check_devices(parameters: dict[str, Any], outputs: set[str]) -> None:
    training = parameters.get("training", {})
    trains = outputs & {"denoiser", "seed_denoisers", "variant_denoisers"}
    if trains and training["engine"] == "ddp" and training["device"] == "auto":
        from sidiff.engines.processes import check_devices  # noqa: PLC0415 (torch)

        check_devices(training["device"], training["workers"])
    asking = [
        name
        for name in ("embedding", "training", "evaluation", "baselines", "recommend")
        # On a cluster the GPUs are elsewhere.
        if parameters.get(name, {}).get("device") == "cuda"
        and parameters[name].get("engine") != "ray"
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
    if any(group.get("engine") == "ray" for group in parameters.values()):
        from sidiff.engines.cluster import check_cluster  # noqa: PLC0415

        check_cluster(address)


class CrashHooks:
    """What a run that is cut off leaves, the next one uses, and a finished one takes.

    Snapshots stay until the whole run has ended well, and not only the node that made
    them: where a later node fails, the same command does not train anew.
    """

    @hook_impl
    def after_pipeline_run(self, pipeline: Pipeline, catalog: DataCatalog) -> None:
        """Remove the snapshots that led to what is now stored."""
        for name in sorted(pipeline.inputs()):
            dataset = catalog.get(name)
            if isinstance(dataset, UnfinishedWork):
                dataset.load().clear()


class ProgressHooks:
    """One line per finished node, and the figures at the end."""

    def __init__(self) -> None:
        self._nodes = self._done = 0
        self._began = 0.0
        self._node_began: dict[str, float] = {}
        self._only_missing = False
        self._env = ""

    @hook_impl
    def after_context_created(self, context: Any) -> None:
        """Keep the name of the environment."""
        self._env = context.env or context.config_loader.default_run_env

    @hook_impl
    def before_pipeline_run(
        self, run_params: dict[str, Any], pipeline: Pipeline, catalog: DataCatalog
    ) -> None:
        """Say what is about to run."""
        self._nodes, self._done = len(pipeline.nodes), 0
        self._began = perf_counter()
        self._only_missing = bool(run_params.get("only_missing_outputs"))
        names = what_runs(run_params)
        logger.info(
            "Pipeline %s, data set %s, version %s",
            names,
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
    def after_pipeline_run(self, pipeline: Pipeline, catalog: DataCatalog) -> None:
        """Show the figures of a run that got as far as having them."""
        written = _written(pipeline, catalog)
        if self._only_missing and not self._done and not written:
            logger.info(
                "Nothing to do: all outputs are stored, with whatever settings they "
                "were made."
            )
        if "run_summary" not in written:
            return
        results = {
            name: written[name].stored_address() for name in RESULTS if name in written
        }
        summary = catalog.load("run_summary")
        if "comparison" in written:
            summary["comparison"] = headlines(catalog.load("comparison"))
        mlflow = active_mlflow()
        show_summary(
            summary,
            results,
            perf_counter() - self._began,
            mlflow.get_tracking_uri() if mlflow else None,
            self._env,
        )


class TrackingHooks:
    """What kedro-mlflow leaves out of a run: versions, code, figures, reports.

    All of it does nothing when tracking is off (no active MLflow run).
    """

    def __init__(self) -> None:
        self._project = Path()
        self._env = ""
        self._inputs: dict[str, Any] = {}

    @hook_impl(tryfirst=True)
    def after_context_created(self, context: Any) -> None:
        """Keep what later hooks are not told, and keep kedro-mlflow quiet."""
        # The plugin puts itself at INFO when it is imported, after conf/logging.yml
        # was read, and tells what it does at every start.
        logging.getLogger("kedro_mlflow").setLevel(logging.WARNING)
        self._project = context.project_path
        self._env = context.env or context.config_loader.default_run_env

    # Last, so that kedro-mlflow has started the run.
    @hook_impl(trylast=True)
    def before_pipeline_run(
        self, run_params: dict[str, Any], pipeline: Pipeline, catalog: DataCatalog
    ) -> None:
        """Tag the run with its code, its configuration and the versions it reads."""
        mlflow = active_mlflow()
        if mlflow is None:
            return
        chosen = {
            name: catalog.load(f"params:{name}")
            for name in ("dataset", "recipe", "preset")
        }
        runs = what_runs(run_params)
        self._inputs = _versioned(pipeline.inputs(), catalog)
        # The plugin notes the command without what was given by --params, and its
        # options as they were given.
        noted = mlflow.get_run(mlflow.active_run().info.run_id).data.tags
        tags = {name: redacted(value) for name, value in noted.items()} | {
            "mlflow.runName": " ".join([runs, *chosen.values()]),
            "kedro_command": redacted(" ".join(["kedro", *sys.argv[1:]])),
            "env": self._env,
            "storage": redacted(catalog.load("params:storage")),
            "pipeline": runs,
            "save_version": run_params["run_id"],
            **chosen,
            **git_state(self._project),
        }
        for name, dataset in self._inputs.items():
            try:
                tags[f"input.{name}"] = dataset.resolve_load_version()
            except VersionNotFoundError:
                tags[f"input.{name}"] = "none"
        mlflow.set_tags(tags)

    @hook_impl
    def after_dataset_loaded(self, dataset_name: str, data: Any) -> None:
        """Name the data that a run is of."""
        mlflow = active_mlflow()
        if mlflow is None or dataset_name not in LINEAGE.keys() & self._inputs.keys():
            return
        column = LINEAGE[dataset_name]
        digest = of_texts(data["sid"].to_list()) if column is None else data[column][0]
        frame = data.head(1000).drop(column or [])
        table = mlflow.data.from_polars(
            frame.select(cs.exclude(cs.unsigned_integer())),
            source=self._inputs[dataset_name].loaded_address(),
            name=dataset_name,
            digest=str(digest)[:36],
        )
        mlflow.log_input(table)

    @hook_impl
    def after_dataset_saved(self, dataset_name: str, data: Any) -> None:
        """Log the numbers of a flat report, and a run for each method compared."""
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
        prefix = REPORTS[dataset_name]
        mlflow.log_metrics(
            {
                f"{prefix}/{key}" if prefix else key: float(value)
                for key, value in data.items()
                if isinstance(value, int | float)
            }
        )

    # First, so that kedro-mlflow has not ended the run yet.
    @hook_impl(tryfirst=True)
    def on_pipeline_error(self, error: Exception) -> None:
        """Say why the run failed."""
        mlflow = active_mlflow()
        if mlflow is not None:
            told = find_problem(error) or error
            mlflow.set_tag("error", redacted(f"{told}")[:MLFLOW_TAG])

    # First, so that kedro-mlflow has not ended the run yet.
    @hook_impl(tryfirst=True)
    def after_pipeline_run(self, pipeline: Pipeline, catalog: DataCatalog) -> None:
        """Attach figures and reports."""
        mlflow = active_mlflow()
        if mlflow is None:
            return
        for name, dataset in _written(pipeline, catalog).items():
            path = PurePosixPath(dataset.stored_address())
            report = REPORTING_FOLDER in path.parts or name in REPORTS
            if report and path.suffix in (".json", ".md", ".png", ".html"):
                with dataset.stored_file() as file:
                    mlflow.log_artifact(str(file))


def _log_methods(mlflow: Any, table: pl.DataFrame) -> None:
    """A run below the active one for every method, with its figures for all users.

    MLflow's own tables and charts compare runs; as figures of one run they would be a
    thousand.
    """
    rows = table.filter(by="all")
    for (method, kind), own in rows.group_by("method", "kind", maintain_order=True):
        with mlflow.start_run(run_name=str(method), nested=True):
            mlflow.set_tags({"method": method, "kind": kind})
            mlflow.log_metrics(
                {
                    f"{row['level']}/{row['metric']}": row["mean"]
                    for row in own.iter_rows(named=True)
                    if row["mean"] is not None
                }
            )


def what_runs(run_params: dict[str, Any]) -> str:
    """Return the pipelines of a run in their order, and what was chosen of them."""
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


def git_state(project: Path) -> dict[str, str]:
    """Return the commit and whether files differ from it; empty outside git."""

    def git(*arguments: str) -> str:
        return subprocess.run(  # noqa: S603
            ["git", *arguments],  # noqa: S607
            cwd=project,
            capture_output=True,
            text=True,
            check=True,
            timeout=10,
        ).stdout.strip()

    try:
        commit = git("rev-parse", "HEAD")
        return {"git.commit": commit, "git.dirty": str(bool(git("status", "-s")))}
    except (OSError, subprocess.SubprocessError):
        return {}


def _versioned(names: set[str], catalog: DataCatalog) -> dict[str, Any]:
    """The data sets among ``names`` that have versions, all of them ``Stored``."""
    datasets = {name: catalog.get(name) for name in sorted(names)}
    return {
        name: dataset
        for name, dataset in datasets.items()
        if isinstance(dataset, Stored)
    }


def _written(pipeline: Pipeline, catalog: DataCatalog) -> dict[str, Any]:
    """The outputs that the run has stored: not those of nodes that it left out."""
    return {
        name: dataset
        for name, dataset in _versioned(pipeline.all_outputs(), catalog).items()
        if dataset.is_stored()
    }
