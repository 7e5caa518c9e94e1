"""Metrics by hand, and the item level against every order inside the groups."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidiff.evaluation import metrics as m


def test_ranks_by_hand() -> None:
    values = m.metrics_from_ranks(np.array([0, 4, 5, 9, 10, -1]), [5, 10])
    assert values["recall_at_5"].tolist() == [1, 1, 0, 0, 0, 0]
    assert values["recall_at_10"].tolist() == [1, 1, 1, 1, 0, 0]
    expected = [1, 1 / math.log2(6), 1 / math.log2(7), 1 / math.log2(11), 0, 0]
    assert values["ndcg_at_10"].tolist() == pytest.approx(expected)
    assert values["ndcg_at_5"].tolist() == pytest.approx([*expected[:2], 0, 0, 0, 0])


def test_sid_level_takes_the_place_of_the_targets_sid() -> None:
    ranked = np.array([[7, 2, 5], [1, 0, -1], [3, 4, -1]])
    values = m.hit_metrics(ranked, np.array([5, 1, 9]), [2, 3])
    assert values["recall_at_2"].tolist() == [0, 1, 0]
    assert values["ndcg_at_3"].tolist() == pytest.approx([0.5, 1, 0])


def test_item_level_by_hand() -> None:
    # SID 0 has three items, SID 1 one, SID 2 two; the second user's list is short.
    ranked = np.array([[0, 1, 2], [2, -1, -1]])
    values = m.expected_item_metrics(
        ranked, np.array([1, 2]), np.array([3, 1, 2]), [1, 4]
    )
    assert values["recall_at_1"].tolist() == [0, 0.5]
    assert values["recall_at_4"].tolist() == [1, 1]
    assert values["ndcg_at_4"].tolist() == pytest.approx(
        [1 / math.log2(5), (1 + 1 / math.log2(3)) / 2]
    )


@settings(max_examples=80)
@given(
    sizes=st.lists(st.integers(1, 4), min_size=1, max_size=4),
    target=st.integers(0, 3),
    k=st.integers(1, 8),
)
def test_item_level_is_the_mean_over_all_orders(sizes, target, k) -> None:
    target %= len(sizes)
    sid_of_item = np.repeat(np.arange(len(sizes)), sizes)
    chosen = int(np.flatnonzero(sid_of_item == target)[0])
    groups = [np.flatnonzero(sid_of_item == s).tolist() for s in range(len(sizes))]
    recall, ndcg = [], []
    for orders in itertools.product(*(itertools.permutations(g) for g in groups)):
        place = [item for group in orders for item in group].index(chosen)
        recall.append(float(place < k))
        ndcg.append(1 / math.log2(place + 2) if place < k else 0.0)
    values = m.expected_item_metrics(
        np.arange(len(sizes))[None], np.array([target]), np.array(sizes), [k]
    )
    assert values[f"recall_at_{k}"][0] == pytest.approx(np.mean(recall))
    assert values[f"ndcg_at_{k}"][0] == pytest.approx(np.mean(ndcg))


def test_without_collisions_both_levels_agree() -> None:
    rng = np.random.default_rng(0)
    ranked = np.stack([rng.permutation(30)[:10] for _ in range(50)])
    targets = rng.integers(0, 30, 50)
    ones = np.ones(30, dtype=np.int64)
    item = m.expected_item_metrics(ranked, targets, ones, [5, 10])
    for name, value in m.hit_metrics(ranked, targets, [5, 10]).items():
        assert item[name] == pytest.approx(value)
