from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import mlflow
import pytest
from kedro.io import DatasetError
from mlflow.entities import Run as MlflowRun
from mlflow.tracking import MlflowClient

from sidiff.cli import _one_line, find_problem
from sidiff.pipelines.tracking import active_mlflow, log_figures

from .conftest import SMALL, Run


@pytest.fixture
def client(project: Path) -> MlflowClient:
    return MlflowClient(tracking_uri=f"sqlite:///{project}/mlflow.db")


def find(client: MlflowClient, version: str) -> MlflowRun:
    experiment = client.get_experiment_by_name("sidiff")
    assert experiment is not None
    (found,) = client.search_runs(
        [experiment.experiment_id], f"tags.save_version = '{version}'"
    )
    return found


def test_parameters_are_single_values(client: MlflowClient, full_run: str) -> None:
    params = find(client, full_run).data.params
    assert params["training.network.d_model"] == "16"
    assert params["training.validation.max_users"] == "50"
    assert params["tokenization.whitening.dimensions"] == "16"
    assert params["training.loss_reduction"] == "per_view"
    assert not [name for name, value in params.items() if value.startswith("{")]


def test_epochs_are_steps(client: MlflowClient, full_run: str) -> None:
    run_id = find(client, full_run).info.run_id
    for key in ("train/loss", "validation/score"):
        history = client.get_metric_history(run_id, key)
        assert [point.step for point in history] == [1, 2]


def test_final_figures_and_reports(client: MlflowClient, full_run: str) -> None:
    run = find(client, full_run)
    assert run.info.status == "FINISHED"
    metrics = run.data.metrics
    assert 0.0 <= metrics["test/item/ndcg_at_10"] <= 1.0
    assert metrics["sid_report/distinct_sids"] <= metrics["data/items"]
    # Not a metric: one of many numbers in a table
    assert "sid_report/mean_group" not in metrics
    table = mlflow.load_table("tables/sid_report.json", [run.info.run_id])
    assert {"mean_group", "distinct_sids"} <= set(table["figure"])
    names = {file.path for file in client.list_artifacts(run.info.run_id)}
    assert names >= {
        "metrics.json",
        "sid_report.json",
        "data_statistics.json",
        "sid_figure.png",
        "training_figure.json",
        "run_report.html",
    }


def test_what_was_run(client: MlflowClient, full_run: str) -> None:
    tags = find(client, full_run).data.tags
    assert tags["dataset"] == "sample"
    assert tags["preset"] == "sidiff"
    assert tags["pipeline"] == "full"
    assert tags["input.previous_item_embeddings"] == "none"
    clock = full_run[11:19]
    assert tags["mlflow.runName"] == f"full sample diffgrm sidiff {clock}"
    assert tags["kedro_command"].split()[0] == "kedro"


def test_the_data_of_a_run(client: MlflowClient, full_run: str) -> None:
    inputs = {
        part.dataset.name: part.dataset
        for part in find(client, full_run).inputs.dataset_inputs
    }
    assert inputs.keys() == {"sequences", "sid_table"}


def test_the_computer_is_watched() -> None:
    assert os.environ["MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING"] == "true"


def test_a_partial_run_names_the_versions_it_read(
    client: MlflowClient, full_run: str, run: Run
) -> None:
    version = run("full", node_names=["plot_training"])
    tags = find(client, version).data.tags
    assert tags["save_version"] == version
    read = tags["input.training_history"]
    assert read != version
    assert len(read) == len(version)


def test_a_failed_run_is_marked_and_closed(
    client: MlflowClient, full_run: str, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError("on purpose")

    monkeypatch.setattr("sidiff.training.figures.training_figure", fail)
    with pytest.raises(RuntimeError, match="on purpose"):
        run("full", node_names=["plot_training"])
    assert mlflow.active_run() is None
    experiment = client.get_experiment_by_name("sidiff")
    assert experiment is not None
    latest = client.search_runs([experiment.experiment_id], max_results=1)[0]
    assert latest.info.status == "FAILED"
    assert latest.data.tags["error"] == "on purpose"


def test_nothing_missing_is_a_run_of_nothing(
    client: MlflowClient, full_run: str, run: Run
) -> None:
    version = run("comparison", only_missing_outputs=True)
    found = find(client, version)
    assert found.info.status == "FINISHED"
    assert not client.list_artifacts(found.info.run_id)


def test_a_stage_names_its_data(client: MlflowClient, full_run: str, run: Run) -> None:
    version = run("comparison", node_names=["compare_methods"])
    inputs = {
        part.dataset.name: part.dataset
        for part in find(client, version).inputs.dataset_inputs
    }
    assert inputs.keys() == {"sid_table"}
    assert "sid_table.parquet" in inputs["sid_table"].source


def test_nothing_is_logged_without_a_run() -> None:
    assert active_mlflow() is None
    log_figures(1, {"train/loss": 0.5})
    assert mlflow.active_run() is None


def test_secrets_of_addresses_are_not_kept(
    client: MlflowClient, run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    place = "http://who:hush-hush@127.0.0.1:1/{}.gz?signature=shush"
    raw = {f"raw_{name}": place.format(name) for name in ("reviews", "metadata")}
    with pytest.raises(DatasetError) as caught:
        run("ingestion", SMALL | raw | {"dataset": "signed"})
    problem = find_problem(caught.value)
    assert problem is not None
    told = _one_line(problem)
    assert "http://***@127.0.0.1:1/" in told
    experiment = client.get_experiment_by_name("sidiff")
    assert experiment is not None
    (last, *_) = client.search_runs(
        [experiment.experiment_id], "tags.dataset = 'signed'"
    )
    noted = str([last.data.tags, last.data.params, caplog.messages])
    for secret in ("hush-hush", "shush"):
        assert secret not in noted
        assert secret not in told
