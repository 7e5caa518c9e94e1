"""The page docs/your_data.md, done as it says."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml
from kedro.io import DatasetError

from sidiff.errors import SidiffError

from .conftest import ROOT, SMALL, Run

PAGE = (ROOT / "docs" / "your_data.md").read_text(encoding="utf-8")
GIVEN = {name: value for name, value in SMALL.items() if name != "filtering"}
ODD = 'a,b "c"\nd 寿司'


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


def stored(project: Path, layer: str, name: str) -> Path:
    return max((project / "data" / layer / "own" / name).glob(f"*/{name}"))


def report(project: Path, layer: str, name: str) -> dict[str, Any]:
    return dict(json.loads(stored(project, layer, f"{name}.json").read_text()))


@pytest.fixture(scope="module")
def shop(project: Path) -> Path:
    """The files that the page makes, in the project's folder."""
    (code,) = blocks("python")
    exec(code, {})  # noqa: S102
    return project / "data" / "01_raw" / "own"


@pytest.fixture(scope="module")
def finished(project: Path, shop: Path, run: Run) -> Path:
    run("full", GIVEN, env="own")
    return project


def test_the_page_shows_the_files_that_are_shipped() -> None:
    shown = blocks("yaml")
    for name, block in zip(("globals", "parameters"), shown, strict=False):
        assert block == (ROOT / "conf" / "own" / f"{name}.yml").read_text()


def test_the_page_shows_the_lines_that_there_are(shop: Path) -> None:
    (shown,) = re.findall(r"^(customer,.*)\n(.*)$", PAGE, re.MULTILINE)
    lines = [re.split(r"\s{2,}", line) for line in shown]
    for name, column in (("interactions", 0), ("items", 1)):
        text = (shop / f"{name}.csv").read_text().splitlines()
        assert [line[column] for line in lines] == text[:2]


def test_the_example_ends_in_recommendations(finished: Path) -> None:
    ingested = report(finished, "02_intermediate", "ingestion_report")
    assert ingested["layout"] == "table"
    assert ingested["rejected_lines"] == 0
    counts = report(finished, "08_reporting", "data_statistics")
    assert counts["synthetic"] is False
    assert counts["interactions"] == ingested["reviews"]["rows"]
    assert (counts["users"], counts["items"]) == (400, 120)
    ranked = pl.read_parquet(stored(finished, "07_model_output", "test_lists.parquet"))
    assert ranked["user_id"].n_unique() == 400
    texts = pl.read_parquet(stored(finished, "04_feature", "item_texts.parquet"))
    assert texts.row(0)[:2] == (
        "01000",
        "Name: blue kettle, no. 0. Colour: blue. Category: kettle. Price: 5.0.",
    )


@pytest.mark.parametrize("number", [2, 3])
def test_the_amazon_layouts_of_the_page_are_legal(
    project: Path, shop: Path, run: Run, number: int
) -> None:
    """Legal, and other columns than the example has."""
    changes = yaml.safe_load(blocks("yaml")[number])
    with pytest.raises(
        SidiffError, match=r"items.csv has no column (parent_)?asin, it has sku, name"
    ):
        run("ingestion", {**GIVEN, **changes}, env="own")


def test_a_missing_file_is_one_sentence(project: Path, run: Run) -> None:
    given = {**GIVEN, "raw_reviews": "data/01_raw/own/none.csv"}
    with pytest.raises(DatasetError, match=r"under raw_files in globals\.yml"):
        run("ingestion", given, env="own")


def test_an_unknown_field_names_those_there_are(finished: Path, run: Run) -> None:
    text = {"text": [{"field": "color", "label": ""}]}
    with pytest.raises(SidiffError, match=r"no field color \(title, .*, colour\)"):
        run("embedding", {**GIVEN, "embedding": text}, env="own")
    with pytest.raises(SidiffError, match=r"embedding\.text\[0\]\.field is color"):
        run("embedding", {**SMALL, "embedding": text})


def test_odd_ids_and_texts_reach_the_recommendations(
    finished: Path, shop: Path, run: Run
) -> None:
    log = pl.read_csv(shop / "interactions.csv", infer_schema=False)
    shelf = pl.read_csv(shop / "items.csv", infer_schema=False)
    odd = shelf["sku"][:2].to_list()
    # One has a name nobody expects and a text of a megabyte, one has no row at all.
    log = log.with_columns(pl.col("sku", "customer").replace({odd[0]: ODD, "C1": ODD}))
    shelf = shelf.filter(pl.col("sku") != odd[1]).with_columns(
        name=pl.when(pl.col("sku") == odd[0])
        .then(pl.lit("é " * 2**19))
        .otherwise("name"),
        sku=pl.col("sku").replace(odd[0], ODD),
    )
    folder = finished / "odd" / "day=1"
    folder.mkdir(parents=True)
    # Every purchase twice: a slip of the log.
    pl.concat([log, log]).write_parquet(folder / "part-0.parquet")
    shelf.write_ndjson(finished / "odd.ndjson")
    given = {
        **GIVEN,
        "raw_reviews": str(finished / "odd"),
        "raw_metadata": str(finished / "odd.ndjson"),
        "evaluation": {**GIVEN["evaluation"], "top_k": 120},
    }
    run("full", given, env="own", to_nodes=["describe_data", "evaluate_denoiser"])
    counts = report(finished, "08_reporting", "data_statistics")
    assert counts["items_without_metadata"] == 1
    assert counts["interactions"] == len(log)
    texts = pl.read_parquet(stored(finished, "04_feature", "item_texts.parquet"))
    found = dict(texts.select("item_id", "text").iter_rows())
    assert found[odd[1]] == odd[1]
    assert len(found[ODD]) > 2**20
    ranked = pl.read_parquet(stored(finished, "07_model_output", "test_lists.parquet"))
    assert ODD in ranked["user_id"]
    assert ODD in ranked["item_id"]
