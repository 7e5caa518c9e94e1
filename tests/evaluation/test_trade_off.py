"""What the trade-off figure shows."""

from __future__ import annotations

from dataclasses import asdict
from types import SimpleNamespace

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from sidiff.evaluation.comparison import SCHEMA
from sidiff.evaluation.figures import pareto_front, trade_off_figure
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
NAMES = {"cpd": "CPD", "cpd_fixed_order": "cpd fixed order", "two_stage": "two stage"}


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


def test_every_search_is_a_named_point() -> None:
    figure = trade_off_figure(comparison(), METHODS)
    searched = {NAMES[key]: point for key, point in POINTS.items() if point[0]}
    for axis, place in (("x", 0), ("x2", 1)):
        drawn = {
            name: (x, y)
            for trace in figure.data
            if trace.mode == "markers" and trace.xaxis == axis
            for name, x, y in zip(trace.hovertext, trace.x, trace.y, strict=True)
        }
        assert drawn == {
            name: (point[place], point[2]) for name, point in searched.items()
        }


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
