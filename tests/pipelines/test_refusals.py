"""Stages run apart must not mix what does not belong together."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from kedro.framework.session import KedroSession

from sidiff.cli import _misuse
from sidiff.datasets import Model
from sidiff.errors import SidiffError
from sidiff.pipelines import frames

from .conftest import SMALL, Run


@pytest.mark.parametrize(
    ("env", "params"),
    [
        (None, {"raw_reviews": "mine.gz", "raw_metadata": "meta.gz"}),
        ("sports", {}),
    ],
)
def test_the_generator_never_writes_over_real_files(
    project: Path, env: str | None, params: dict[str, Any]
) -> None:
    with (
        pytest.raises(SidiffError, match="written over real raw files"),
        KedroSession.create(project, env=env, runtime_params=params) as session,
    ):
        session.run(pipeline_names=["sample_data"])


def test_a_denoiser_of_another_table_is_refused(full_run: str, run: Run) -> None:
    given = json.loads(json.dumps(SMALL))
    given["tokenization"]["seed"] = 99
    run("tokenization", given)
    with pytest.raises(SidiffError, match="was trained on SID table"):
        run("evaluation")
    run("tokenization")
    run("evaluation")


def test_rows_of_a_rejected_ingestion_go_no_further(
    project: Path, full_run: str, run: Run
) -> None:
    raw = project / "data" / "01_raw" / "sample"
    given = {
        **SMALL,
        "dataset": "spoilt",
        "raw_reviews": str(project / "spoilt.json"),
        "raw_metadata": str(raw / "meta_Sample.json.gz"),
    }
    with gzip.open(raw / "reviews_Sample_5.json.gz", "rt") as file:
        lines = file.read().splitlines()
    spoilt = project / "spoilt.json"
    spoilt.write_text("\n".join(lines))
    run("ingestion", given)
    broken = len(lines) // 10
    spoilt.write_text("\n".join([*lines[:-broken], *["{broken"] * broken]))
    with pytest.raises(SidiffError, match="rejected_"):
        run("ingestion", given)
    with pytest.raises(
        SidiffError, match="interactions were made from different versions"
    ):
        run("filtering", given)


def test_kedros_own_refusals_are_told_from_defects(project: Path) -> None:
    with (
        pytest.raises(ValueError, match="nosuch") as refused,
        KedroSession.create(project) as session,
    ):
        session.run(pipeline_names=["nosuch"])
    assert _misuse(refused.value) is refused.value
    with pytest.raises(ValueError, match="invalid literal") as defect:
        int("x")
    assert _misuse(defect.value) is None


def network(seed: int, **metadata: Any) -> Model:
    same = {"sequences": "s", "known_items": ["a"], "max_history": 5, "seed": seed}
    return Model({"weight": np.full(2, seed)}, same | metadata)


def test_exactly_the_networks_of_the_seeds_are_compared() -> None:
    further = frames.join_models({"1": network(1), "2": network(2)})
    chosen = frames.choose_seeds(network(7), further, [2, 7])
    assert list(chosen) == [2, 7]
    assert [model.tensors["weight"][0] for model in chosen.values()] == [2, 7]
    with pytest.raises(SidiffError, match=r"seed 3 of evaluation\.seeds"):
        frames.choose_seeds(network(7), further, [7, 3])
