"""The page docs/deployment.md says what is so."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any
from uuid import uuid4

import polars as pl
import pytest
import yaml
from kedro.framework.session import KedroSession
from kedro.io.core import Version

from sidiff.datasets import PartitionedParquet
from sidiff.pipeline_registry import PIPELINES, STAGES

from .conftest import ROOT

PAGE = (ROOT / "docs" / "deployment.md").read_text(encoding="utf-8")
PROD = ROOT / "conf" / "prod"


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture(scope="module")
def after() -> dict[str, list[str]]:
    """The order of the stages, as the orchestrator's example has it."""
    (found,) = (
        node.value
        for node in ast.parse(blocks("python")[0]).body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "AFTER"
    )
    return dict(ast.literal_eval(found))


def ancestors(after: dict[str, list[str]], stage: str) -> set[str]:
    return set(after[stage]).union(*(ancestors(after, name) for name in after[stage]))


def made_by(name: str) -> str | None:
    """The stage that stores what another one reads; None for the raw files."""
    found = [
        stage for stage, pipeline in PIPELINES.items() if name in pipeline.all_outputs()
    ]
    return found[0] if found else None


def test_the_example_has_every_stage(after: dict[str, list[str]]) -> None:
    assert list(after) == [name for name in STAGES if name != "sample_data"]
    (command,) = re.findall(r'bash_command=f"(.*)"', blocks("python")[0])
    assert command == "kedro run --env=prod --pipeline={stage}"


def test_every_stage_comes_after_what_it_reads(after: dict[str, list[str]]) -> None:
    needed = {}
    for stage in after:
        inputs = STAGES[stage].inputs()
        makers = {made_by(name.removeprefix("previous_")) for name in inputs}
        needed[stage] = {m for m in makers if m} - {stage, "sample_data"}
        assert needed[stage] <= ancestors(after, stage), stage
    for stage, earlier in after.items():  # And none waits for what it does not read.
        assert set(earlier) <= needed[stage], stage


def test_the_page_shows_the_settings_that_are_shipped() -> None:
    assert blocks("yaml")[0] == (PROD / "globals.yml").read_text()


def test_the_page_names_every_environment_variable() -> None:
    read = {
        (name, f"conf/prod/{path.name}")
        for path in PROD.glob("*.yml")
        for name in re.findall(r"\$\{oc\.env:(\w+)", path.read_text())
    }
    assert len(read) == 3
    rows = re.findall(r"^\| `(\w+)` \| `(conf/prod/\w+\.yml)` \|", PAGE, re.MULTILINE)
    assert set(rows) == read


def test_the_credentials_of_the_page_are_taken(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("STORE_KEY", "STORE_SECRET"):
        monkeypatch.setenv(name, name.lower())
    monkeypatch.setenv("SIDIFF_STORAGE", "s3://bucket/prefix")
    file = project / "conf" / "prod" / "credentials.yml"
    file.write_text(blocks("yaml")[1])
    try:
        with KedroSession.create(project, env="prod") as session:
            files = session.load_context().catalog.get("denoiser")._fs
    finally:
        file.unlink()
    assert (files.key, files.secret) == ("store_key", "store_secret")
    assert (
        files.endpoint_url
        == yaml.safe_load(blocks("yaml")[1])["storage"]["endpoint_url"]
    )


def test_git_ignores_credentials() -> None:
    assert "conf/**/credentials*" in (ROOT / ".gitignore").read_text().splitlines()


def test_the_latest_recommendations_are_picked_up() -> None:
    storage = f"memory:///{uuid4()}"
    columns = ["user_id", "rank", "item_id", "score", "semantic_id", "method"]
    for version, item in (("2026-01-01", "old"), ("2026-01-02", "new")):
        row = ("u", 1, item, 0.5, "1-2", "items_markov")
        PartitionedParquet(
            filepath=f"{storage}/07_model_output/shop/recommendations",
            version=Version(None, version),
        ).save(iter([("part-00000", pl.DataFrame([row], columns, orient="row"))]))
    names: dict[str, Any] = {"storage": storage}
    exec(blocks("python")[1], names)  # noqa: S102
    assert names["recommendations"]["item_id"].to_list() == ["new"]
    (comment,) = re.findall(r"pl.concat\(parts\)  # (.*)", PAGE)
    assert comment.split(", ") == columns


def test_the_page_is_linked() -> None:
    assert "](docs/deployment.md)" in (ROOT / "README.md").read_text()
    pages = {path.name for path in (ROOT / "docs").glob("*.md")}
    assert set(re.findall(r"\]\((\w+\.md)", PAGE)) <= pages
