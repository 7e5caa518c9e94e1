"""Every stage a process of its own, in a folder of its own, with S3 between them."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import Any

import polars as pl
import pytest
import yaml
from mlflow.entities import Run as MlflowRun
from mlflow.tracking import MlflowClient

from sidiff.pipeline_registry import STAGES
from tests.s3 import BUCKET, Store

from .conftest import ROOT, SMALL

PREFIX = f"{BUCKET}/some/place"
USERS, ITEMS = 150, 60
PIPELINES = [name for name in STAGES if name != "sample_data"]
CHANGES: dict[str, Any] = {
    **{name: SMALL[name] for name in ("tokenization", "evaluation", "baselines")},
    "filtering": {"min_user_interactions": 3, "min_item_interactions": 3},
    "embedding": {"text": [{"field": "title", "label": "Title"}]},
    "training": {**SMALL["training"], "checkpoint_seconds": 0},
}


@dataclass(frozen=True)
class Finished:
    """What one command did.

    Attributes:
        folder: where it ran; nobody else did.
        code: exit code; -9 where it was killed.
        output: all that it printed.
    """

    folder: Path
    code: int
    output: str

    def left(self) -> set[str]:
        """Folders of its own in which it left files."""
        paths = (p for p in self.folder.rglob("*") if p.is_file())
        found = {p.relative_to(self.folder).parts[0] for p in paths}
        return found - {"conf", "pyproject.toml", ".viz"}


def machine(path: Path) -> Path:
    """The project as an image holds it: no data, no history."""
    shutil.copytree(ROOT / "conf", path / "conf")
    shutil.copy(ROOT / "pyproject.toml", path)
    (path / "src").mkdir()
    given = path / "conf" / "prod" / "parameters.yml"
    shop = yaml.safe_load(given.read_text())
    for group, changes in CHANGES.items():
        shop[group] = shop.get(group, {}) | changes
    given.write_text(yaml.safe_dump(shop))
    return path


def upload_shop(store: Store) -> None:
    draw = random.Random(1)
    bought = [
        (f"u{user}", f"i{item}", 10**9 + 1000 * user + number)
        for user in range(USERS)
        for number, item in enumerate(draw.sample(range(ITEMS), 6))
    ]
    log = pl.DataFrame(bought, schema=["user_id", "item_id", "timestamp"], orient="row")
    titles = [f"{draw.choice(['red', 'blue'])} thing no. {i}" for i in range(ITEMS)]
    shelf = pl.DataFrame({"item_id": [f"i{i}" for i in range(ITEMS)], "title": titles})
    files = store.files()
    for name, frame in (("interactions", log), ("items", shelf)):
        with files.open(f"{PREFIX}/01_raw/shop/{name}.parquet", "wb") as file:
            frame.write_parquet(file)


def commands(path: Path, store: Store) -> Iterator[tuple[str, dict[str, Any]]]:
    """The stages in their order; the training is killed before it is given again."""
    common = {
        "SIDIFF_STORAGE": f"s3://{PREFIX}/",
        "SIDIFF_SCRATCH": f"{path}/scratch",
        "MLFLOW_TRACKING_URI": tracking(path),
    }
    for name in [*PIPELINES[:4], "killed", *PIPELINES[4:]]:
        folder = machine(path / name)
        stage = "training" if name == "killed" else name
        environment = common | store.environment
        if name == "filtering":  # Credentials by either way.
            environment = common
            given = folder / "conf" / "prod" / "credentials.yml"
            given.write_text(yaml.safe_dump({"storage": store.credentials}))
        yield (
            name,
            {
                "folder": str(folder),
                "arguments": ["run", "--env=prod", f"--pipeline={stage}"],
                "environment": environment,
                "kill": "Denoiser, epoch 1 of 2" if name == "killed" else None,
            },
        )


def tracking(path: Path) -> str:
    return f"sqlite:///{path}/mlflow.db"


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("machines")


@pytest.fixture(scope="module")
def stages(path: Path, store: Store) -> dict[str, Finished]:
    upload_shop(store)
    # An MLflow server would say where artefacts go.
    MlflowClient(tracking(path)).create_experiment("sidiff", f"{path}/artifacts")
    given = dict(commands(path, store))
    paths = [str(ROOT), str(ROOT / "src"), os.environ.get("PYTHONPATH", "")]
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("AWS_", "SIDIFF_", "MLFLOW_"))
    }
    done = subprocess.run(
        [sys.executable, "-m", "tests.pipelines.stages"],
        input=json.dumps(list(given.values())),
        cwd=path / PIPELINES[0],  # Kedro reads conf/logging.yml when it is imported.
        env={
            **kept,
            "PYTHONPATH": os.pathsep.join(paths),
            "COLUMNS": "200",
            "OMP_NUM_THREADS": "1",
            "MPLBACKEND": "Agg",
            "DO_NOT_TRACK": "1",
            "MLFLOW_DISABLE_TELEMETRY": "true",
        },
        capture_output=True,
        text=True,
        check=True,
        timeout=400,
    )
    return {
        name: Finished(Path(given[name]["folder"]), **json.loads(line))
        for name, line in zip(given, done.stdout.splitlines(), strict=True)
    }


def version_of(stage: Finished) -> str:
    found = re.search(r"version (\S+Z)", stage.output)
    assert found, stage.output
    return found[1]


def stored(store: Store) -> dict[str, list[PurePosixPath]]:
    """What lies in the store: versions' files by data set, without layer 01."""
    found: dict[str, list[PurePosixPath]] = {}
    for file in store.files().find(PREFIX):
        path = PurePosixPath(file).relative_to(PREFIX)
        if path.parts[0] != "01_raw":
            found.setdefault(path.parts[2], []).append(path)
    return found


def read(store: Store, layer: str, name: str, version: str) -> bytes:
    path = f"{PREFIX}/{layer}/shop/{name}/{version}/{name}"
    return bytes(store.files().cat_file(path))


def tracked(path: Path, stage: Finished) -> MlflowRun:
    client = MlflowClient(tracking(path))
    experiment = client.get_experiment_by_name("sidiff")
    assert experiment is not None
    (found,) = client.search_runs(
        [experiment.experiment_id], f"tags.save_version = '{version_of(stage)}'"
    )
    return found


def test_every_stage_ends_well_and_leaves_nothing_behind(
    stages: dict[str, Finished],
) -> None:
    for name, stage in stages.items():
        assert stage.code == (-9 if name == "killed" else 0), stage.output
        assert stage.left() == set(), name


def test_every_boundary_is_in_the_store(
    stages: dict[str, Finished], store: Store
) -> None:
    versions = {}
    for name in PIPELINES:
        for output in STAGES[name].all_outputs():
            versions[output] = version_of(stages[name])
    found = stored(store)
    assert {PurePosixPath(name).stem for name in found} == versions.keys()
    for name, paths in found.items():
        version = versions[PurePosixPath(name).stem]
        assert {path.parts[3].removesuffix(".stamp.json") for path in paths} == {
            version
        }, name
        if name == "bundle":  # a folder, whose manifest has the sums of its files
            assert "manifest.json" in {path.name for path in paths}
            continue
        assert {path.name for path in paths} == {name, f"{version}.stamp.json"}


def test_a_killed_training_goes_on_elsewhere(stages: dict[str, Finished]) -> None:
    assert "Denoiser, epoch 1 of 2" in stages["killed"].output
    again = stages["training"].output
    assert "Denoiser training goes on from its checkpoint" in again
    assert "Denoiser, epoch 2 of 2" in again


def test_every_user_gets_ranked_items(
    stages: dict[str, Finished], store: Store
) -> None:
    name, version = "test_lists.parquet", version_of(stages["evaluation"])
    ranked = pl.read_parquet(BytesIO(read(store, "07_model_output", name, version)))
    assert ranked.group_by("user_id").len()["len"].to_list() == [10] * USERS


def test_the_summary_says_where_the_results_are(
    stages: dict[str, Finished], path: Path
) -> None:
    lines = [line.split() for line in stages["evaluation"].output.splitlines()]
    place = f"s3://{PREFIX}/07_model_output/shop/test_lists.parquet"
    assert ["test_lists", place] in lines
    assert ["kedro", "mlflow", "ui", "--env=prod"] in [line[2:] for line in lines]


def test_every_stage_is_tracked_with_what_it_read(
    stages: dict[str, Finished], path: Path, store: Store
) -> None:
    tags = tracked(path, stages["evaluation"]).data.tags
    assert tags["env"] == "prod"
    assert tags["storage"] == f"s3://{PREFIX}"
    assert tags["input.denoiser"] == version_of(stages["training"])
    assert tags["input.sid_table"] == version_of(stages["tokenization"])
    assert tags["save_version"] == version_of(stages["evaluation"])


@pytest.mark.parametrize(
    ("stage", "names"),
    [
        ("ingestion", {"ingestion_report.json"}),
        ("tokenization", {"sid_report.json", "sid_figure.png"}),
        ("training", {"training_figure.json", "masking_figure.png"}),
        ("evaluation", {"metrics.json"}),
        ("comparison", {"comparison_table.md", "comparison_figure.png"}),
        ("report", {"run_report.html"}),
    ],
)
def test_figures_and_reports_are_attached(
    stages: dict[str, Finished], path: Path, store: Store, stage: str, names: set[str]
) -> None:
    run = tracked(path, stages[stage])
    client = MlflowClient(tracking(path))
    assert {file.path for file in client.list_artifacts(run.info.run_id)} >= names
    for name in names - {"ingestion_report.json"}:
        file = Path(client.download_artifacts(run.info.run_id, name, str(path)))
        content = read(store, "08_reporting", name, version_of(stages[stage]))
        assert file.read_bytes() == content
