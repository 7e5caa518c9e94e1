"""The page of a run: its content, and that it needs no other file."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import numpy as np
import polars as pl

from sidiff.report.build import Run, build
from sidiff.report.examples import choose_examples, neighbours
from sidiff.report.walk import WalkStep
from sidiff.sids.table import SidTable
from tests.evaluation.test_trade_off import comparison

VOID = {"meta", "img"}
TITLES = ["Mug", "Tea <pot>", "Kettle", "Tray"]
DATA = {
    "synthetic": True,
    "users": 2,
    "items": 4,
    "interactions": 7,
    "density": 0.875,
    "min_length": 3,
    "max_length": 4,
    "mean_length": 3.5,
    "median_length": 3.5,
    "training_samples": 3,
    "cold_items": 0,
    "rejected_lines": 1,
    "reviews_lines": 8,
    "metadata_lines": 4,
}
CODES = np.array([[0, 1], [0, 2], [1, 1], [2, 0]], np.uint16)


def stored() -> Run:
    results = pl.DataFrame(
        {
            "method": ["two_stage"] * 2,
            "seed": [1, 1],
            "user": [0, 1],
            "target": [2, 3],
            "items": [[2, 1], [0, -1]],
        },
        schema_overrides={"items": pl.Array(pl.Int32, 2)},
    )
    return Run(
        data=DATA,
        catalogue=pl.DataFrame(
            {
                "item_index": [1, 0, 2, 3],
                "item_id": list("badc"),
                "title": [TITLES[1], TITLES[0], TITLES[2], None],
            }
        ),
        table=SidTable(CODES, pl.Series([*"abcd"]), 3),
        sequences=pl.DataFrame({"items": [[1, 0, 1, 2], [0, 2, 3]]}),
        history=pl.DataFrame(
            {
                "epoch": [1, 2],
                "train/loss": [4.0, 3.0],
                "validation/score": [None, 0.25],
                "validation/sid/ndcg_at_10": [None, 0.5],
                "validation/item/ndcg_at_10": [None, 0.25],
            }
        ),
        walk=[
            WalkStep(
                np.array([-1, -1]), np.array([[0.9, 0.1, 0], [0.5, 0.3, 0.2]]), 0, 0
            ),
            WalkStep(np.array([0, -1]), np.array([[0, 0, 0], [0.1, 0.2, 0.7]]), 1, 2),
        ],
        results=results,
        comparison=comparison().filter(pl.col("method") != "items"),
        settings={
            **{"dataset": "tea", "recipe": "diffgrm", "preset": "sidiff"},
            "training": {"epochs": 2},
        },
    )


class Balanced(HTMLParser):
    """Fails at a tag that is closed but not open, and keeps the text."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_page_is_whole_and_refers_to_nothing() -> None:
    page = build(stored())
    parser = Balanced()
    parser.feed(page)
    assert parser.open == []
    # Images are part of the page.
    assert len(re.findall('src="data:image/svg', page)) == 4
    assert not re.search(r"""(src|href)=(?!"data:)|@import|url\(""", page)
    # Titles are data: they are shown as they are and never read as HTML.
    assert "<pot>" not in page
    text = " ".join(parser.text.split())
    assert "0.0600 NDCG@10, items; 10 users" in text
    assert "The weights of epoch 2 were kept" in text
    assert "Digit 2 becomes code 2, probability 0.700" in text
    assert "0 2 is Tea <pot>. The user took Kettle, 1 1." in text
    assert "epochs: 2" in text


def test_examples_are_hits_at_the_first_place_and_misses() -> None:
    run = stored()
    good, bad = choose_examples(run.results, run.sequences, [*"abcd"], 3)
    assert [(e.target, e.listed, e.history) for e in good] == [
        ("c", ["c", "b"], ["b", "a", "b"])
    ]
    # A short list ends with -1, which is no item.
    assert [(e.target, e.listed) for e in bad] == [("d", ["a"])]


def test_neighbours_share_the_most_digits() -> None:
    found = neighbours(CODES, TITLES, pl.DataFrame({"items": [[0, 1], [0]]}), 2)
    assert [item.title for item in found] == ["Mug", "Tea <pot>", "Kettle"]
    assert [item.same for item in found[1:]] == [[True, False], [False, True]]
