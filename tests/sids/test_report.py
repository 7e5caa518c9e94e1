"""The report by hand, and the figure by what is drawn in it."""

from __future__ import annotations

import json
import sys

import numpy as np
import polars as pl
import pytest

from sidiff.sids.report import sid_figure, sid_report
from sidiff.sids.table import SidTable


def table_of(codes: list[list[int]], size: int) -> SidTable:
    ids = pl.Series([f"item{i}" for i in range(len(codes))])
    return SidTable(np.array(codes), ids, size)


def test_numbers_by_hand() -> None:
    table = table_of(
        [[0, 3], [0, 3], [1, 3], [1, 3], [1, 3], [2, 3], [3, 3], [3, 2]], 4
    )
    trained = np.array([True] * 4 + [False] + [True] * 2 + [False])

    report = sid_report(table, trained, {"quantization_error": 0.25})

    assert json.loads(json.dumps(report)) == report
    assert report.pop("fingerprint") == table.fingerprint
    # Digit 0: 2, 3, 1, 2 of 8 items. Digit 1: codes 2 and 3, of 1 and 7 items.
    assert report.pop("entropy_bits_digit_0") == pytest.approx(1.9056390622)
    assert report.pop("entropy_bits_digit_1") == pytest.approx(0.5435644431)
    assert report == {
        "items": 8,
        "items_in_training": 6,
        "digits": 2,
        "codebook_size": 4,
        "distinct_sids": 5,
        "collision_groups": 2,
        "items_in_collisions": 5,
        "items_not_in_training_in_collisions": 1,
        "collision_rate": 0.625,
        "largest_group": 3,
        "mean_group": 1.6,
        "quantization_error": 0.25,
        "utilisation_digit_0": 1.0,
        "utilisation_digit_1": 0.5,
    }


def test_one_code_has_no_entropy() -> None:
    report = sid_report(table_of([[1], [1]], 4), np.ones(2, dtype=bool), {})
    assert report["entropy_bits_digit_0"] == 0
    assert report["utilisation_digit_0"] == 0.25


def test_figure_draws_usage_and_groups() -> None:
    codes = [[0]] * 20 + [[1]] * 5 + [[2]] * 4 + [[3]] + [[4]]
    usage, groups = sid_figure(table_of(codes, 8)).axes

    (steps,) = usage.patches
    assert steps.get_data().values.tolist() == [20, 5, 4, 1, 1, 0, 0, 0]
    assert "of 3.00 bits" in usage.get_legend().get_title().get_text()
    heights = [bar.get_height() for bar in groups.patches]
    names = [label.get_text() for label in groups.get_xticklabels()]
    drawn = {name: n for name, n in zip(names, heights, strict=True) if n}
    assert drawn == {"1": 2, "4": 1, "5\u20138": 1, "17\u201332": 1}


@pytest.mark.parametrize(("digits", "size"), [(1, 2), (64, 256)])
def test_figure_of_any_shape(digits: int, size: int) -> None:
    codes = np.random.default_rng(0).integers(size, size=(50, digits)).tolist()
    figure = sid_figure(table_of(codes, size))
    figure.canvas.draw()
    assert (figure.axes[0].get_legend() is None) == (digits > 8)


def test_figure_leaves_no_global_state() -> None:
    sid_figure(table_of([[0], [1]], 2))
    if "matplotlib.pyplot" in sys.modules:
        assert sys.modules["matplotlib.pyplot"].get_fignums() == []
