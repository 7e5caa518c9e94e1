from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidiff.errors import SidiffError
from sidiff.reviews.sequences import Sequences, Windows, training_samples
from sidiff.reviews.statistics import concerns, statistics

from .test_sequences import LENGTHS, of_lengths

HISTORIES = st.lists(
    st.lists(st.integers(0, 3), min_size=1, max_size=9), min_size=1, max_size=6
)
FINE = {
    "interactions": 1000,
    "trained_share": 0.9,
    "untrained_interactions": 0,
    "out_of_reach": 0,
    "tied_share": 0.25,
    "ties_by_item_id": 1.0,
    "repeated_targets": 0.1,
}


def of_histories(histories: list[list[int]]) -> Sequences:
    lengths = [len(items) for items in histories]
    return Sequences(
        items=np.concatenate(histories).astype(np.int32),
        offsets=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        user_ids=pl.Series([f"u{user}" for user in range(len(lengths))]),
        item_ids=pl.Series([f"i{item}" for item in range(4)]),
    )


def describe(sequences: Sequences, windows: Windows, longest: int) -> dict[str, Any]:
    return statistics(
        sequences,
        training_samples(sequences, windows, 2, longest),
        longest,
        np.zeros(sequences.n_items, dtype=bool),
    )


def said(**changes: Any) -> list[str]:
    rules = {
        "windows": "sliding",
        "min_history": 2,
        "merge_seconds": None,
        "published": False,
    }
    given = {name: changes.pop(name, value) for name, value in rules.items()}
    return concerns(FINE | changes, **given)


def test_statistics_by_hand() -> None:
    sequences = of_lengths([2, 5, 8])
    samples = training_samples(sequences, "prefix", 2, 50)
    found = statistics(
        sequences,
        samples,
        50,
        np.arange(10) >= 8,
    )
    assert json.loads(json.dumps(found)) == {
        "users": 3,
        "items": 10,
        "interactions": 15,
        "density": 0.5,
        "min_length": 2,
        "mean_length": 5.0,
        "median_length": 5.0,
        "max_length": 8,
        "training_samples": 5,
        "training_items": 7,  # 1..3 of the second user, 2..7 of the third
        "trained_share": 0.6,  # places 0..2 of the second, 0..5 of the third: 9 of 15
        "untrained_interactions": 0,
        "out_of_reach": 0,
        "repeated_targets": 0.0,
        "validation_users": 2,
        "test_users": 3,
        "cold_items": 3,  # 0, 8 and 9
        "held_out_items": 2,
        "held_out_test_users": 1,  # the third, who ends with 9
    }


@given(HISTORIES.filter(lambda histories: max(map(len, histories)) >= 5))
def test_repeated_targets_equal_the_item_before(histories: list[list[int]]) -> None:
    pairs = [pair for items in histories for pair in pairwise(items)]
    found = describe(of_histories(histories), "sliding", 50)["repeated_targets"]
    assert found == pytest.approx(np.mean([a == b for a, b in pairs]))


@given(
    LENGTHS.filter(lambda lengths: max(lengths) >= 5),
    st.sampled_from(["sliding", "prefix", "all"]),
    st.integers(2, 5),
)
def test_every_interaction_trains_or_is_counted(
    lengths: list[int], windows: Windows, longest: int
) -> None:
    found = describe(of_lengths(lengths), windows, longest)
    trained = round(found["trained_share"] * found["interactions"])
    assert trained + found["untrained_interactions"] == sum(
        max(length - 2, 0) for length in lengths
    )
    short = sum(max(length - 2, 0) for length in lengths if length < 5)
    beyond = sum(max(length - 3 - longest, 0) for length in lengths)
    assert found["untrained_interactions"] - found["out_of_reach"] == short
    assert found["out_of_reach"] == (beyond if windows == "prefix" else 0)
    assert found["cold_items"] == found["items"] - found["training_items"]


def test_nobody_is_bothered_without_a_reason() -> None:
    assert said() == []
    assert said(published=True, merge_seconds=10) == []


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {"windows": "prefix", "trained_share": 0.6, "out_of_reach": 300},
            "300 of the 900 interactions that may train are beyond the reach of "
            "filtering.windows=prefix; set filtering.windows=sliding",
        ),
        ({"trained_share": 0.6}, "set filtering.min_history=1 to use more"),
        ({"trained_share": 0.6, "min_history": 1}, "bring longer histories."),
        (
            {"tied_share": 0.5},
            "50% of the interactions share their time with another of the same user",
        ),
        (
            {"tied_share": 0.5, "published": True},
            "that of the item ids, as in the published splits, which gives",
        ),
        ({"tied_share": 0.5}, "they are sorted by item id, which gives the last"),
        (
            {"tied_share": 0.5, "ties_by_item_id": 0.05},
            "they are sorted by item id, which gives the last",
        ),
        (
            {"tied_share": 0.5, "ties_by_item_id": 0.5},
            "that of the file; give finer times if that is not the order",
        ),
        ({"repeated_targets": 0.5}, "50% of all targets are the item before them; if"),
        ({"repeated_targets": 0.5}, "set filtering.merge_seconds (10, for example)."),
        (
            {"repeated_targets": 0.5, "merge_seconds": 10},
            "more than 10 seconds later; if these are slips of the log too, set",
        ),
    ],
)
def test_what_bends_the_results_is_one_sentence(
    changes: dict[str, Any], sentence: str
) -> None:
    if changes.get("trained_share"):
        changes = {"untrained_interactions": 300, **changes}
    (told,) = said(**changes)
    assert sentence in told
    assert told.endswith(".")


def test_a_log_without_any_sample_has_no_statistics() -> None:
    with pytest.raises(SidiffError, match="No training sample"):
        describe(of_lengths([4, 4]), "sliding", 50)
