"""What people who know Kedro do, by the commands as they type them."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from time import monotonic, sleep
from urllib.error import URLError
from urllib.request import urlopen

import polars as pl
import pytest
from mlflow.entities import Run
from mlflow.tracking import MlflowClient

from .conftest import ROOT
from .test_command_line import kedro


@pytest.fixture(scope="module")
def raw(project: Path) -> str:
    """Parameters that name a small shop's files, in folders of the project."""
    folder = project / "habits"
    folder.mkdir()
    log = [(f"c{n % 20}", f"{n % 7:03}", 10**9 + n) for n in range(120)]
    pl.DataFrame(log, ["1", "2", "true"], orient="row").write_csv(folder / "log.csv")
    items = pl.DataFrame({"2": [f"{n:03}" for n in range(7)], "1e5": ["vase"] * 7})
    items.write_csv(folder / "items.csv")
    columns = ["user=1", "item=2", "timestamp=true", "time_unit=s"]
    return ",".join(
        [
            "raw_reviews=habits/log.csv,raw_metadata=habits/items.csv",
            *(f"ingestion.interactions.{column}" for column in columns),
            "ingestion.items.item=2,ingestion.items.fields.title=1e5",
        ]
    )


def ingest(
    project: Path, raw: str, *options: str, dataset: str, folder: str = "."
) -> subprocess.CompletedProcess[str]:
    return kedro(
        project / folder,
        "run",
        "--pipelines=ingestion",
        "--env=own",
        f"--params=dataset={dataset},{raw}",
        *options,
    )


def tracked(project: Path, dataset: str) -> list[Run]:
    """The MLflow runs of a data set or, without a name, of all; the latest first."""
    client = MlflowClient(tracking_uri=f"sqlite:///{project}/mlflow.db")
    experiment = client.get_experiment_by_name("sidiff")
    assert experiment is not None
    wanted = f"tags.dataset = '{dataset}'" if dataset else ""
    return list(client.search_runs([experiment.experiment_id], wanted))


def outputs(run: Run) -> set[str]:
    return {name for name in run.data.tags if name.startswith("output.")}


@pytest.mark.parametrize("dataset", ["0042", "null"])
def test_names_stay_as_they_are_typed(project: Path, raw: str, dataset: str) -> None:
    done = ingest(project, raw, dataset=dataset)
    assert done.returncode == 0, done.stderr
    assert f"data set {dataset}," in " ".join(done.stdout.split())
    (table,) = project.glob(f"data/02_intermediate/{dataset}/items.parquet/*/*.parquet")
    items = pl.read_parquet(table)
    assert items.select("item_id", "title").row(6) == ("006", "vase")
    assert [run.data.tags["dataset"] for run in tracked(project, dataset)] == [dataset]


def test_only_missing_outputs_makes_and_names_what_was_missing(
    project: Path, raw: str
) -> None:
    assert ingest(project, raw, dataset="missing").returncode == 0
    done = ingest(project, raw, "--only-missing-outputs", dataset="missing")
    assert done.returncode == 0, done.stderr
    assert "Nothing to do: all outputs are stored" in " ".join(done.stdout.split())
    shutil.rmtree(project / "data/02_intermediate/missing/ingestion_report.json")
    done = ingest(project, raw, "--only-missing-outputs", dataset="missing")
    assert done.returncode == 0, done.stderr
    assert "check_rejected_lines" in done.stdout
    assert "ingest_reviews" not in done.stdout
    last, nothing, first = tracked(project, "missing")
    assert outputs(last) == {"output.ingestion_report"}
    assert outputs(nothing) == set()
    assert len(outputs(first)) == 7
    assert {run.info.status for run in (last, nothing, first)} == {"FINISHED"}
    for run in (last, first):
        for tag in outputs(run):
            name, version = tag.removeprefix("output."), run.data.tags[tag]
            found = project.glob(f"data/02_intermediate/missing/{name}.*/*")
            stored = {path.name for path in found}
            assert version in stored or (run is first and name == "ingestion_report")


def test_a_command_from_a_folder_below_is_the_same(project: Path, raw: str) -> None:
    below = project / "habits" / "below"
    below.mkdir()
    done = ingest(project, raw, dataset="below", folder="habits/below")
    assert done.returncode == 0, done.stderr
    assert "Loading data" not in done.stdout
    assert "WARNING" not in done.stdout
    assert list(below.iterdir()) == []
    (run,) = tracked(project, "below")
    assert "output.ingestion_report" in outputs(run)
    assert (project / "data/02_intermediate/below/ingestion_report.json").is_dir()


@pytest.fixture
def held(project: Path) -> Iterator[subprocess.Popen[str]]:
    """A run of everything, minutes long, for the data set ``held``."""
    paths = [str(ROOT / "src"), os.environ.get("PYTHONPATH", "")]
    process = subprocess.Popen(
        [sys.executable, "-m", "kedro", "run", "--params=dataset=held"],
        cwd=project,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths), "COLUMNS": "80"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    while "Pipeline full" not in (line := process.stdout.readline()):
        assert line, "the run has ended"
    yield process
    process.kill()
    process.communicate()


def test_two_runs_at_once_are_kept_apart(
    project: Path, raw: str, held: subprocess.Popen[str]
) -> None:
    before = tracked(project, "")
    refused = ingest(project, raw, dataset="held")
    assert refused.returncode == 1
    assert refused.stderr.startswith("Error: Another run reads or writes ")
    assert "data/02_intermediate/held/" in refused.stderr
    assert "--params=dataset=NAME" in refused.stderr
    assert refused.stderr.count("\n") == 1
    assert len(tracked(project, "")) == len(before)
    assert ingest(project, raw, dataset="another").returncode == 0
    assert held.poll() is None
    held.kill()
    held.wait()
    done = ingest(project, raw, dataset="held")
    assert done.returncode == 0, done.stderr


def test_no_page_names_the_command_that_sends_usage_data() -> None:
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    pages += (ROOT / "conf").rglob("*.yml")
    pages += (ROOT / "src").rglob("*.py")
    assert len(pages) > 100
    for page in pages:
        text = page.read_text(encoding="utf-8")
        assert not re.search(r"(?<!kedro )mlflow (ui|server) -", text), page


def test_the_user_interface_sends_no_usage_data(project: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    told = {"DO_NOT_TRACK", "MLFLOW_DISABLE_TELEMETRY"}
    clean = {name: value for name, value in os.environ.items() if name not in told}
    paths = [str(ROOT / "src"), os.environ.get("PYTHONPATH", "")]
    clean["PYTHONPATH"] = os.pathsep.join(paths)
    clean["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), clean["PATH"]])
    server = subprocess.Popen(  # noqa: S603 (our own arguments)
        [sys.executable, "-m", "kedro", "mlflow", "ui", f"--port={port}"],
        cwd=project / "habits",
        env=clean,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    page = f"http://127.0.0.1:{port}/ajax-api/3.0/mlflow/ui-telemetry"
    until = monotonic() + 100
    answer = ""
    try:
        while not answer and server.poll() is None and monotonic() < until:
            try:
                with urlopen(page, timeout=10) as response:
                    answer = response.read().decode()
            except (URLError, OSError):
                sleep(0.5)
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()
    assert '"disable_ui_telemetry":true' in answer.replace(" ", "")
    assert not (project / "habits" / "mlflow.db").exists()
