"""What the trade-off figure shows."""

from __future__ import annotations

from dataclasses import asdict
from types import SimpleNamespace

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.text import Text

from sidiff.evaluation.comparison import SCHEMA
from sidiff.evaluation.trade_off import pareto_front, trade_off_figure
from sidiff.ranking.results import Cost

POINTS = {
    "cpd": (8.0, 20.0, 0.05),
    "cpd_fixed_order": (8.0, 21.0, 0.0499),
    "two_stage": (5.0, 40.0, 0.06),
    "items": (0.0, 900.0, 0.2),
}
METHODS = {
    "cpd": "cpd",
    "cpd_fixed_order": "cpd",
    "two_stage": "two_stage",
}
NAMES = (["CPD", "cpd fixed order", "two stage"], ["two stage"])
"""Of all points where calls are counted, of the best ones beside the rate."""


def comparison() -> pl.DataFrame:
    rows = []
    for method, (calls, speed, ndcg) in POINTS.items():
        base = {"method": method, "kind": "decoder", "by": "all", "bucket": "all"}
        base |= {"users": 10, "seeds": 1, "sd": None, "confidence": 0.95}
        for level in ("item", "sid"):
            for metric in ("recall_at_10", "ndcg_at_10"):
                figures = {"mean": ndcg, "low": ndcg, "high": ndcg}
                rows.append(base | figures | {"level": level, "metric": metric})
        cost = asdict(Cost(1.0, speed, denoiser_calls=calls))
        for metric, value in cost.items():
            figures = {"mean": value, "low": None, "high": None}
            rows.append(base | figures | {"level": "cost", "metric": metric})
    return pl.DataFrame(rows, schema=SCHEMA)


def test_every_search_is_a_point_and_its_name_hides_no_other() -> None:
    figure = trade_off_figure(comparison(), METHODS)
    for axes, place in zip(figure.axes, (0, 1), strict=True):
        drawn = {
            (float(x), float(y))
            for line in axes.lines
            if line.get_marker() not in ("None", None, "")
            for x, y in zip(*line.get_data(), strict=True)
        }
        searched = {key: point for key, point in POINTS.items() if point[0]}
        assert drawn == {(point[place], point[2]) for point in searched.values()}
        names = [text.get_text() for text in axes.texts]
        assert sorted(names) == NAMES[place]
        for text in axes.texts:
            text.get_window_extent()  # puts it into its place
        # Of the names without the lines that lead to their points.
        boxes = [Text.get_window_extent(text) for text in axes.texts]
        for i, box in enumerate(boxes):
            assert not any(box.overlaps(other) for other in boxes[:i])
        (level,) = (line for line in axes.lines if line.get_linestyle() == "--")
        assert level.get_ydata()[0] == pytest.approx(0.99 * 0.05)


def test_without_cpd_there_is_no_level_to_keep() -> None:
    frame = comparison().filter(pl.col("method") != "cpd")
    for axes in trade_off_figure(frame, METHODS).axes:
        assert not [line for line in axes.lines if line.get_linestyle() == "--"]


@given(
    st.lists(st.tuples(st.integers(1, 5), st.integers(0, 5)), min_size=1, max_size=12)
)
def test_the_front_is_what_nothing_dominates(points: list[tuple[int, int]]) -> None:
    for cost, sign in (("denoiser_calls", 1), ("users_per_second", -1)):
        lines = [
            SimpleNamespace(**{cost: price}, ndcg=SimpleNamespace(mean=value))
            for price, value in points
        ]
        found = {
            (getattr(line, cost), line.ndcg.mean) for line in pareto_front(lines, cost)
        }
        expected = {
            (price, value)
            for price, value in points
            if not any(
                (sign * p <= sign * price and v >= value) and (p, v) != (price, value)
                for p, v in points
            )
        }
        assert found == expected
