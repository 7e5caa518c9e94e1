"""One setting moves everything; what cannot be stored is refused in a sentence."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any
from uuid import uuid4

import fsspec
import pytest
from fsspec.registry import known_implementations
from kedro.framework.session import KedroSession
from mlflow.tracking import MlflowClient

from sidiff.errors import SidiffError

from .conftest import SMALL, Run

ENVIRONMENTS = [None, "beauty", "beauty_cpu", "beauty_study", "sports", "toys"]


def catalogue(
    project: Path, env: str | None = None, params: dict[str, Any] | None = None
) -> dict[str, Any]:
    with KedroSession.create(project, env=env, runtime_params=params) as session:
        context = session.load_context()
        assert len(context.catalog.keys()) > 50  # Its addresses are understood.
        return dict(context.config_loader["catalog"])


@pytest.mark.parametrize("env", ENVIRONMENTS)
def test_everything_lies_below_the_storage(project: Path, env: str | None) -> None:
    entries = catalogue(project, env, {"storage": "memory:///some/place/"})
    for name, entry in entries.items():
        assert entry["filepath"].startswith("memory:///some/place/0"), name
    assert entries["raw_reviews"]["copies"].startswith("data/01_raw/")


def test_production_is_told_by_the_environment(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SIDIFF_STORAGE", "memory:///bucket/")
    monkeypatch.setenv("SIDIFF_SCRATCH", "/scratch/")
    entries = catalogue(project, "prod")
    for name, entry in entries.items():
        assert entry["filepath"].startswith("memory:///bucket/0"), name
    assert entries["raw_reviews"]["copies"] == "/scratch/01_raw/shop/copies"
    entries = catalogue(project, "prod", {"storage": "memory:///other"})
    for name, entry in entries.items():
        assert entry["filepath"].startswith("memory:///other/0"), name


def test_production_is_tracked_where_the_environment_says(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def mlflow(env: str | None) -> dict[str, Any]:
        with KedroSession.create(project, env=env) as session:
            return dict(session.load_context().config_loader["mlflow"])

    monkeypatch.setenv("SIDIFF_STORAGE", "memory:///bucket")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    base, prod = mlflow(None), mlflow("prod")
    assert prod["server"] == base["server"]
    experiment = prod["tracking"].pop("experiment")
    assert experiment.pop("create_experiment_kwargs") == {"artifact_location": None}
    named = base["tracking"].pop("experiment")
    assert named.pop("create_experiment_kwargs") == {"artifact_location": "mlartifacts"}
    assert experiment == named
    assert prod["tracking"] == base["tracking"]
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///elsewhere.db")
    uri = mlflow("prod")["server"]["mlflow_tracking_uri"]
    assert uri == "sqlite:///elsewhere.db"


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ("", "set the environment variable SIDIFF_STORAGE"),
        ("https://host/folder", "nothing can be written there"),
        ("s4://bucket", "Protocol not known: s4"),
    ],
)
def test_a_place_that_is_none_is_refused(
    project: Path, monkeypatch: pytest.MonkeyPatch, given: str, sentence: str
) -> None:
    monkeypatch.setenv("SIDIFF_STORAGE", given)
    with pytest.raises(SidiffError) as caught:
        catalogue(project, "prod")
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_driver_is_one_sentence(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    missing = {"class": "no_such_module.Files", "err": "Install it to access S5"}
    monkeypatch.setitem(known_implementations, "s5", missing)
    with pytest.raises(SidiffError, match=r"Install it to access S5 \(for s3: pip"):
        catalogue(project, None, {"storage": "s5://bucket"})


def test_copies_need_a_local_folder(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SIDIFF_STORAGE", "memory:///bucket")
    monkeypatch.setenv("SIDIFF_SCRATCH", "s3://bucket/scratch")
    with pytest.raises(SidiffError, match="must be a folder on this machine"):
        catalogue(project, "prod")


@pytest.mark.parametrize("raw", [None, {"key": "other"}])
def test_credentials_reach_the_files(project: Path, raw: dict[str, str] | None) -> None:
    given = {"key": "k", "secret": "s", "endpoint_url": "http://127.0.0.1:9"}
    file = project / "conf" / "beauty" / "credentials.yml"
    entries = {"storage": given} | ({} if raw is None else {"raw": raw})
    file.write_text(str(entries))
    try:
        with KedroSession.create(
            project, env="beauty", runtime_params={"storage": "s3://bucket/p"}
        ) as session:
            catalog = session.load_context().catalog
            for name in ("interactions", "denoiser", "metrics", "previous_sid_table"):
                files = catalog.get(name)._fs
                assert (files.key, files.endpoint_url) == ("k", given["endpoint_url"])
            assert catalog.get("checkpoints").load().files.key == "k"
            wanted = "k" if raw is None else "other"
            assert catalog.get("raw_reviews")._place()[0].key == wanted
    finally:
        file.unlink()


def test_stages_pass_everything_through_the_store(project: Path, run: Run) -> None:
    place = f"memory:///{uuid4()}"
    name = uuid4().hex
    given = {**SMALL, "storage": place, "dataset": name}
    for stage in ("sample_data", "ingestion"):
        first = run(stage, given)
    run("ingestion", given)
    version = run("filtering", given, load_versions={"interactions": first})
    files = fsspec.filesystem("memory")
    layers = {path.split("/")[2] for path in files.find(place)}
    assert layers == {"01_raw", "02_intermediate", "03_primary"} | {
        "05_model_input",
        "08_reporting",
    }
    assert files.exists(
        f"{place}/03_primary/{name}/sequences.parquet/{version}/sequences.parquet"
    )
    here = {path.parts[-2:] for path in project.glob(f"data/*/{name}")}
    assert here == {("01_raw", name)}  # Copies of the raw files, and nothing else.
    tags = _tags(project, version)
    assert tags["input.interactions"] == first
    assert tags["input.items"] > first
    assert tags["storage"] == place


def _tags(project: Path, version: str) -> dict[str, str]:
    client = MlflowClient(tracking_uri=f"sqlite:///{project}/mlflow.db")
    experiment = client.get_experiment_by_name("sidiff")
    assert experiment is not None
    (found,) = client.search_runs(
        [experiment.experiment_id], f"tags.save_version = '{version}'"
    )
    return dict(found.data.tags)


def test_too_many_rejected_lines_are_named_where_they_lie(
    project: Path, run: Run
) -> None:
    place = f"memory:///{uuid4()}"
    given = {**SMALL, "storage": place}
    run("sample_data", given)
    files = fsspec.filesystem("memory")
    (path,) = (path for path in files.find(place) if "reviews" in path)
    lines = gzip.decompress(files.cat_file(path)).splitlines()
    files.pipe_file(path, gzip.compress(b"\n".join([*lines, *[b"no json"] * 100])))
    with pytest.raises(SidiffError) as caught:
        run("ingestion", given)
    assert f"{place}/02_intermediate/sample/rejected_*.parquet" in str(caught.value)
