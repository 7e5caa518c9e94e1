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
from sidiff.reviews.statistics import statistics, warnings_about
from tests.settings import model

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
    "repeated_targets": 0.1,
    "mean_length": 9.0,
    "max_length": 60,
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


def said(found: dict[str, Any], **rules: Any) -> list[str]:
    return warnings_about(FINE | found, model("filtering", rules), "NULL-7")


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


def test_good_data_have_no_warning() -> None:
    assert said({}) == []
    assert said({}, merge_seconds=10) == []


@pytest.mark.parametrize(
    ("found", "rules", "sentence"),
    [
        (
            {"trained_share": 0.6, "untrained_interactions": 300, "out_of_reach": 200},
            {"windows": "prefix"},
            "300 of the 900 interactions that may train are in no training sample: "
            "200 are beyond the reach of filtering.windows=prefix (set it "
            "to sliding), 100 are of users too short for filtering.min_history=",
        ),
        (
            {"max_length": 220},
            {},
            "User NULL-7 has 22% of the interactions: if the id stands for unknown",
        ),
        (
            {"tied_share": 0.5},
            {},
            "50% of the interactions share their time with another of the same user",
        ),
        (
            {"repeated_targets": 0.5},
            {},
            "50% of all targets are the item before them: if the log has events twice, "
            "set filtering.merge_seconds higher (10, for example).",
        ),
    ],
)
def test_what_distorts_the_results_is_one_sentence(
    found: dict[str, Any], rules: dict[str, Any], sentence: str
) -> None:
    (told,) = said(found, **rules)
    assert sentence in told
    assert told.endswith(".")


def test_a_log_without_any_sample_has_no_statistics() -> None:
    with pytest.raises(SidiffError, match="No training sample"):
        describe(of_lengths([4, 4]), "sliding", 50)
