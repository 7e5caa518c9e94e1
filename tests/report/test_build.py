"""The page of a run: what stands on it, and that it needs nothing beside itself."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sidiff.decoding.trace import TraceStep
from sidiff.report.build import build
from sidiff.report.charts import _ticks, line_chart
from sidiff.report.examples import choose_examples, neighbours
from tests.evaluation.test_trade_off import comparison

VOID = {"meta", "line", "circle", "rect", "polyline", "br"}
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
SIDS = {
    "digits": 2,
    "codebook_size": 3,
    "distinct_sids": 4,
    "items": 4,
    "largest_group": 1,
}
CODES = np.array([[0, 1], [0, 2], [1, 1], [2, 0]])


def step(
    filled: list[int], probabilities: list[list[float]], digit: int, code: int
) -> TraceStep:
    log_p = torch.tensor(probabilities)[None, None].log()
    return TraceStep(
        torch.tensor([[filled]]),
        log_p,
        torch.tensor([[digit]]),
        torch.tensor([[code]]),
        log_p[..., digit, code],
    )


def stored() -> dict[str, Any]:
    results = pl.DataFrame(
        {
            "method": ["two_stage"] * 2,
            "seed": [1, 1],
            "user": [0, 1],
            "target": [2, 3],
            "items": [[2, 1], [0, 1]],
        },
        schema_overrides={"items": pl.Array(pl.Int32, 2)},
    )
    return dict(
        data=DATA,
        sids=SIDS,
        catalogue=pl.DataFrame(
            {
                "item_index": [1, 0, 2, 3],
                "item_id": list("badc"),
                "title": [TITLES[1], TITLES[0], TITLES[2], None],
            }
        ),
        codes=CODES,
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
            step([-1, -1], [[0.9, 0.1, 0], [0.5, 0.3, 0.2]], 0, 0),
            step([0, -1], [[0, 0, 0], [0.1, 0.2, 0.7]], 1, 2),
        ],
        walked=0,
        results=results,
        comparison=comparison().filter(pl.col("method") != "items"),
        settings={"training": {"epochs": 2}},
        names={"dataset": "tea", "recipe": "diffgrm", "preset": "sidiff"},
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
    page = build(**stored())
    parser = Balanced()
    parser.feed(page)
    assert parser.open == []
    assert not re.search(r"""(src|href)=|@import|url\(""", page)
    # Titles are data: they are shown as they are and never read as HTML.
    assert "<pot>" not in page
    text = " ".join(parser.text.split())
    assert "0.0600 NDCG@10, items, ±0.0000; 10 users" in text
    assert "The weights of epoch 2 were kept" in text
    assert "Call 2: digit 2 becomes code 2, 70.0 %" in text
    assert "That is: Tea <pot>. Taken was 11 Kettle." in text
    assert "epochs: 2" in text


def test_examples_are_hits_at_the_first_place_and_misses() -> None:
    made = stored()
    good, bad = choose_examples(made["results"], made["sequences"], [*"abcd"], 3)
    assert [(e.target, e.listed, e.history) for e in good] == [
        ("c", ["c", "b"], ["b", "a", "b"])
    ]
    assert [(e.target, e.listed, e.hit) for e in bad] == [("d", ["a", "b"], False)]


def test_neighbours_share_the_most_digits() -> None:
    found = neighbours(CODES, TITLES, 0, 2)
    assert [item.title for item in found] == ["Mug", "Tea <pot>", "Kettle"]
    assert [item.same for item in found[1:]] == [[True, False], [False, True]]


@given(st.floats(1e-6, 1e6))
def test_an_axis_ends_at_or_above_its_highest_point(top: float) -> None:
    ticks = _ticks(top)
    assert ticks[0] == 0
    assert ticks[-1] == pytest.approx(top) or ticks[-1] > top
    assert 3 <= len(ticks) <= 7
    assert np.diff(ticks) == pytest.approx(ticks[1])


def test_lines_stand_where_their_numbers_say() -> None:
    drawn = line_chart({"a": [(1, 0.0), (3, 2.0)]}, "epoch", 3)
    (points,) = re.findall(r'points="([^"]*)"', drawn)
    (x0, y0), (x1, y1) = ([float(v) for v in p.split(",")] for p in points.split())
    assert (x0, x1) == (52.0, 468.0)
    assert (y0, y1) == (216.0, 12.0)
