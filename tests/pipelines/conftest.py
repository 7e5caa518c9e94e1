"""A project of its own for these tests: the real configuration, another folder."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project

ROOT = Path(__file__).parents[2]

SMALL: dict[str, Any] = {
    "sample_data": {"users": 200, "items": 100},
    "filtering": {"min_user_interactions": 3, "min_item_interactions": 3},
    "tokenization": {"whitening": {"dimensions": 16}},
    "training": {
        "network": {"d_model": 16, "heads": 2, "d_ff": 16, "decoder_layers": 1},
        "validation": {"first_epoch": 1, "every_epochs": 1, "max_users": 50},
        "epochs": 2,
    },
    "evaluation": {"decoding": {"beam": 8}, "decoder_users": 20, "seeds": [2024, 1]},
    "baselines": {
        "sasrec": {"d_model": 16, "d_ff": 16, "epochs": 2, "tune": [{"layers": 2}]},
        "autoregressive": {"epochs": 1, "beam": 16},
    },
}
"""Run-time parameters of a run of seconds."""

Run = Callable[..., str]


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A copy of the project without its code, as the working folder.

    MLflow's address in mlflow.yml is relative to the working folder.
    """
    path = tmp_path_factory.mktemp("project")
    shutil.copytree(ROOT / "conf", path / "conf")
    shutil.copy(ROOT / "pyproject.toml", path)
    (path / "src").mkdir()
    before = Path.cwd()
    os.chdir(path)
    bootstrap_project(path)
    yield path
    os.chdir(before)


@pytest.fixture(scope="session")
def run(project: Path) -> Run:
    """Run a pipeline in this process and return the version it wrote."""

    def run(
        pipeline: str,
        params: dict[str, Any] | None = None,
        env: str | None = None,
        **filters: Any,
    ) -> str:
        given = SMALL if params is None else params
        with KedroSession.create(project, env=env, runtime_params=given) as session:
            session.run(pipeline_names=[pipeline], **filters)
            return str(session.session_id)

    return run


@pytest.fixture(scope="session")
def full_run(run: Run) -> str:
    """The version of one complete run of the sample."""
    return run("full")
