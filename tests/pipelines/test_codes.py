"""MDGR's 8 x 300 codes, and SIDs that items share, through the whole pipeline."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from .conftest import SMALL, Run


def full(run: Run, dataset: str, tokenization: dict[str, Any], items: int) -> str:
    """The version of a full run of MDGR as published."""
    given = SMALL | {
        "recipe": "mdgr",
        "preset": "paper",
        "dataset": dataset,
        "sample_data": {"users": 200, "items": items},
        "filtering": {
            "min_user_interactions": 3,
            "min_item_interactions": 1,
            "windows": "prefix",
        },
        "tokenization": SMALL["tokenization"] | tokenization,
        "baselines": SMALL["baselines"] | {"methods": ["popularity", "autoregressive"]},
        "comparison": {"references": ["popularity"]},
    }
    return run("full", given)


def stored(project: Path, dataset: str, layer: str, name: str, version: str) -> Path:
    return project / "data" / layer / dataset / name / version / name


@pytest.mark.parametrize(
    ("digits", "codes", "items"), [(8, 300, 400), (4, 3, 100)], ids=["8x300", "shared"]
)
def test_from_files_to_recommendations(
    project: Path, run: Run, digits: int, codes: int, items: int
) -> None:
    dataset = f"codes_{codes}"
    version = full(run, dataset, {"digits": digits, "codebook_size": codes}, items)

    def read(layer: str, name: str) -> pl.DataFrame:
        return pl.read_parquet(stored(project, dataset, layer, name, version))

    table = read("05_model_input", "sid_table.parquet")
    names = [f"code_{digit}" for digit in range(digits)]
    assert table[names].max().row(0) == (codes - 1,) * digits
    path = stored(project, dataset, "08_reporting", "sid_report.json", version)
    report = json.loads(path.read_text())
    assert report["codebook_size"] == codes
    assert report["distinct_sids"] == table["sid"].n_unique()
    if codes**digits < len(table):  # then a SID leads to a set of items
        assert report["items_in_collisions"] > 0

    lists = read("07_model_output", "test_lists.parquet")
    users = lists.group_by("user_id").agg(
        pl.col("item_id").n_unique().alias("distinct"), pl.len()
    )
    assert (users["distinct"] == users["len"]).all()
    # The paper's search may end in codes of nobody, which drop out of a list.
    assert users["len"].is_between(1, 10).all()
    if codes**digits < len(table):
        # All items of a semantic ID are listed, but for one that the end cuts.
        sids = table.select("item_id", "sid").with_columns(
            items=pl.len().over("sid"),
        )
        found = lists.join(sids, on="item_id").group_by("user_id", "sid")
        listed = found.agg(pl.len().alias("listed"), pl.col("items").first())
        assert (listed["listed"] > 1).any()
        cut = listed.filter(pl.col("listed") < pl.col("items"))
        assert cut["user_id"].is_unique().all()
        assert (cut.join(users, on="user_id")["len"] == 10).all()
