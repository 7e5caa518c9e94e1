"""A catalogue that grows, and items that training never sees."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from sidiff.errors import SidiffError

from .conftest import SMALL, Run

ADDED = 8
COLD = "B0SYNCOLD0"


def latest(project: Path, layer: str, name: str) -> Path:
    return max((project / "data" / layer / "growing" / name).glob(f"*/{name}"))


def table(project: Path) -> pl.DataFrame:
    return pl.read_parquet(latest(project, "05_model_input", "sid_table.parquet"))


@pytest.fixture(scope="module")
def given(project: Path) -> dict[str, Any]:
    return {
        **SMALL,
        "dataset": "growing",
        "raw_reviews": str(project / "growing_reviews.json"),
        "raw_metadata": str(project / "growing_metadata.json"),
        "tokenization": {
            "whitening": {"dimensions": 16},
            "codebook_size": 8,
            "collisions": "repair",
        },
        # Everything is ranked, so that what can be recommended is.
        "evaluation": {
            "method": "one_pass",
            "decoding": {"beam": 200},
            "decoders": {},
            "top_k": 200,
        },
    }


@pytest.fixture(scope="module")
def grown(
    project: Path, full_run: str, run: Run, given: dict[str, Any]
) -> tuple[pl.DataFrame, dict[str, Any]]:
    """The first table, and the parameters under which the catalogue has grown."""
    raw = project / "data" / "01_raw" / "sample"
    with gzip.open(raw / "reviews_Sample_5.json.gz", "rt") as file:
        reviews = file.read().splitlines()
    with gzip.open(raw / "meta_Sample.json.gz", "rt") as file:
        metadata = file.read().splitlines()
    items = sorted({json.loads(line)["asin"] for line in reviews})
    later = tuple(items[:: len(items) // ADDED][:ADDED])

    def write(path: str, lines: list[str], left_out: tuple[str, ...]) -> None:
        kept = [line for line in lines if not any(item in line for item in left_out)]
        Path(path).write_text("\n".join(kept) + "\n")

    write(given["raw_reviews"], reviews, later)
    write(given["raw_metadata"], metadata, later)
    run("full", given)
    first = table(project)
    assert not set(first["item_id"]) & set(later)

    cold = metadata[0]
    for item in items:
        cold = cold.replace(item, COLD)
    write(given["raw_reviews"], reviews, ())
    write(given["raw_metadata"], [*metadata, cold], ())
    wider = {**given, "filtering": {**SMALL["filtering"], "catalogue": "metadata"}}
    for stage in ("ingestion", "filtering", "embedding", "tokenization"):
        run(stage, wider)
    return first, wider


def test_old_items_keep_their_ids_and_new_ones_get_theirs(
    project: Path, grown: tuple[pl.DataFrame, dict[str, Any]]
) -> None:
    first, _ = grown
    now = table(project)
    old = now.join(first.select("item_id"), on="item_id", how="semi")
    codes = ["item_id", "sid", "generation"]
    assert old.select(codes).equals(first.select(codes))
    assert first["generation"].max() == 0
    new = now.join(first, on="item_id", how="anti")
    assert len(new) >= ADDED + 1
    assert (new["generation"] == 1).all()
    assert COLD in new["item_id"].to_list()
    assert now["sid"].n_unique() == len(now)
    assert now["item_id"].is_sorted()
    catalogue = pl.read_parquet(latest(project, "03_primary", "catalogue.parquet"))
    cold = catalogue.filter(pl.col("item_id") == COLD)
    assert cold.select("training_count", "in_training", "held_out").row(0) == (
        0,
        False,
        False,
    )
    counts = json.loads(
        latest(project, "08_reporting", "data_statistics.json").read_text()
    )
    assert counts["cold_items"] >= 1
    assert counts["items"] == len(now)


def test_an_old_denoiser_recommends_new_items(
    project: Path, run: Run, grown: tuple[pl.DataFrame, dict[str, Any]]
) -> None:
    _, wider = grown
    run("evaluation", wider)
    ranked = pl.read_parquet(latest(project, "07_model_output", "test_lists.parquet"))
    assert set(ranked["item_id"]) == set(table(project)["item_id"])


def test_a_rerun_changes_nothing(
    project: Path, run: Run, grown: tuple[pl.DataFrame, dict[str, Any]]
) -> None:
    _, wider = grown
    before = table(project)
    for nodes in (None, ["assign_sids"], ["report_sids"]):
        run("tokenization", wider, node_names=nodes)
        assert table(project).equals(before)


def test_another_setting_fits_anew(
    project: Path,
    run: Run,
    grown: tuple[pl.DataFrame, dict[str, Any]],
    caplog: pytest.LogCaptureFixture,
) -> None:
    _, wider = grown
    caplog.set_level("INFO")
    other = {**wider, "tokenization": {**wider["tokenization"], "seed": 7}}
    run("tokenization", other)
    assert "not extended: it was fitted with tokenization.seed 1234" in caplog.text
    assert table(project)["generation"].max() == 0
    with pytest.raises(SidiffError, match="was trained on SID table"):
        run("evaluation", other)


def test_items_held_out_of_training(project: Path, full_run: str, run: Run) -> None:
    cold = {
        **SMALL,
        "dataset": "growing",
        "filtering": {**SMALL["filtering"], "cold_share": 0.3},
    }
    run("full", cold, to_nodes=["describe_data"])
    catalogue = pl.read_parquet(latest(project, "03_primary", "catalogue.parquet"))
    held_out = catalogue.filter("held_out")
    assert 0.1 < len(held_out) / len(catalogue) < 0.5
    assert held_out["training_count"].sum() == 0
    assert not held_out["in_training"].any()
    assert catalogue["training_count"].sum() > 0
    sequences = pl.read_parquet(latest(project, "03_primary", "sequences.parquet"))
    targets = sequences["items"].list.last()
    counts = json.loads(
        latest(project, "08_reporting", "data_statistics.json").read_text()
    )
    assert counts["held_out_items"] == len(held_out)
    assert (
        counts["held_out_test_users"]
        == targets.is_in(held_out["item_index"].to_list()).sum()
    )
    assert counts["held_out_test_users"] > 0
