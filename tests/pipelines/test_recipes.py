"""MDGR's recipe and the ablation, each as a whole."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

from sidiff.diffusion.noising.amounts import curriculum_chances

from .conftest import SMALL, Run

BATCH = 32


@pytest.fixture(scope="module")
def mdgr_run(run: Run) -> str:
    """The version of one complete run of the sample with eight digits."""
    given: dict[str, Any] = SMALL | {"recipe": "mdgr", "dataset": "eight"}
    # Several views of each sequence, for averages that chance moves little.
    training = SMALL["training"] | {"noising": {"views": 8}, "batch_size": BATCH}
    return run("full", given | {"training": training})


def stored(project: Path, layer: str, name: str, version: str) -> Path:
    return project / "data" / layer / "eight" / name / version / name


def test_mdgr_runs_from_files_to_recommendations(project: Path, mdgr_run: str) -> None:
    def read(layer: str, name: str) -> pl.DataFrame:
        return pl.read_parquet(stored(project, layer, name, mdgr_run))

    def report(name: str) -> dict[str, Any]:
        path = stored(project, "08_reporting", name, mdgr_run)
        return json.loads(path.read_text())

    table = read("05_model_input", "sid_table.parquet")
    assert sum(name.startswith("code_") for name in table.columns) == 8
    assert report("run_summary.json")["recipe"] == "mdgr"
    assert report("sid_report.json")["digits"] == 8
    costs = read("07_model_output", "decoder_costs.parquet")
    calls = dict(costs.select("method", "denoiser_calls").iter_rows())
    assert calls["cpd"] == 8
    assert calls["two_stage"] == 6
    assert calls["one_pass"] == 1
    lists = read("07_model_output", "test_lists.parquet")
    users = lists.group_by("user_id").agg(pl.col("item_id").n_unique())
    assert (users["item_id"] == 10).all()


def test_the_curriculum_tilts_to_more_digits(project: Path, mdgr_run: str) -> None:
    path = stored(project, "08_reporting", "masking_history.parquet", mdgr_run)
    masking = pl.read_parquet(path)
    views = masking.filter(of="views").sort("epoch", "value")
    for (_,), epoch in views.partition_by("epoch", as_dict=True).items():
        assert epoch["share"].sum() == pytest.approx(1.0)
        assert epoch["share"][0] == 0.0  # never nothing
    mean = (
        views.group_by("epoch", maintain_order=True)
        .agg((pl.col("value") * pl.col("share")).sum().alias("masked"))
        .sort("epoch")["masked"]
    )
    path = stored(project, "03_primary", "sequences.parquet", mdgr_run)
    lengths = pl.read_parquet(path)["items"].list.len()
    # A sequence without its last two items, cut into rows of at most 20 targets.
    rows = int(((lengths - 3).clip(0) / 20).ceil().sum())
    sizes = [min(BATCH, rows - first) for first in range(0, rows, BATCH)] * 2
    expected = [
        float(
            curriculum_chances(step / len(sizes), 8, 2.0)
            @ torch.arange(1.0, 9).double()
        )
        for step in range(len(sizes))
    ]
    half = len(sizes) // 2
    for epoch, steps in enumerate((slice(half), slice(half, None))):
        exact = np.average(expected[steps], weights=sizes[steps])
        assert mean[epoch] == pytest.approx(exact, abs=0.2)
    masked = masking.filter(of="in_history", epoch=2).sort("value")["share"]
    # What the history does not have is masked more often than what it has.
    assert masked[0] > masked[1] > 0


def test_the_ablation_trains_ranks_and_compares(
    project: Path, mdgr_run: str, run: Run
) -> None:
    version = run("ablation", SMALL | {"recipe": "mdgr", "dataset": "eight"})
    path = stored(project, "08_reporting", "ablation.parquet", version)
    rows = pl.read_parquet(path).filter(level="item", metric="ndcg_at_10", by="all")
    assert rows["method"].to_list() == ["ocn", "mdgr", "random"]
    assert rows["seeds"].to_list() == [2, 2, 2]
    differences = pl.read_parquet(path).filter(metric="ndcg_at_10_minus_ocn")
    assert differences["method"].to_list() == ["mdgr", "random"]
    history = pl.read_parquet(
        stored(project, "08_reporting", "variant_history.parquet", version)
    )
    assert history.select("method", "seed").n_unique() == 6
    assert history["train/loss"].is_finite().all()
    masking = pl.read_parquet(
        stored(project, "08_reporting", "variant_masking.parquet", version)
    )
    last = masking.filter(of="views", epoch=2, seed=2024)
    shares = {
        method: frame.sort("value")["share"].to_list()
        for (method,), frame in last.partition_by("method", as_dict=True).items()
    }
    # OCN's four nested views of eight digits mask two, four, six and all.
    assert shares["ocn"] == pytest.approx([0, 0, 0.25, 0, 0.25, 0, 0.25, 0, 0.25])
    assert shares["mdgr"][0] == 0
    assert shares["mdgr"][8] > shares["mdgr"][1] > 0.02
    assert shares["random"][4] > shares["random"][1] > 0
    for name in ("ablation_figure", "courses_figure", "variants_masking_figure"):
        picture = stored(project, "08_reporting", f"{name}.png", version)
        assert picture.read_bytes().startswith(b"\x89PNG")
    page = stored(project, "08_reporting", "ablation_table.md", version)
    assert "| ocn |" in page.read_text(encoding="utf-8")
