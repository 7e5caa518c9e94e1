from __future__ import annotations

import re
from itertools import pairwise

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidiff.errors import SidiffError
from sidiff.reviews import kcore
from sidiff.reviews.kcore import k_core

PAIRS = st.lists(st.tuples(st.integers(0, 7), st.integers(0, 7)), max_size=60)

TIMED = st.lists(
    st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(0, 9)),
    min_size=1,
    max_size=40,
)


def frame(pairs: list[tuple[int, int]]) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "user_id": [f"u{user}" for user, _ in pairs],
            "item_id": [f"i{item}" for _, item in pairs],
            "row": list(range(len(pairs))),
        },
        schema={"user_id": pl.String, "item_id": pl.String, "row": pl.Int64},
    )


def core(
    pairs: list[tuple[int, int]], least_user: int, least_item: int
) -> pl.DataFrame:
    return k_core(frame(pairs).lazy(), least_user, least_item, None).frame.collect()


def naive(pairs: list[tuple[int, int]], least_user: int, least_item: int) -> list[int]:
    """Drop one edge at a time until none is below the bound."""
    rows = list(range(len(pairs)))
    while True:
        for row in rows:
            user, item = pairs[row]
            users = sum(pairs[other][0] == user for other in rows)
            items = sum(pairs[other][1] == item for other in rows)
            if users < least_user or items < least_item:
                rows.remove(row)
                break
        else:
            return rows


@given(PAIRS, st.integers(1, 5), st.integers(1, 5))
def test_equals_dropping_one_edge_at_a_time(
    pairs: list[tuple[int, int]], least_user: int, least_item: int
) -> None:
    expected = naive(pairs, least_user, least_item)
    if expected:
        assert core(pairs, least_user, least_item)["row"].to_list() == expected
    else:
        with pytest.raises(SidiffError):
            core(pairs, least_user, least_item)


@given(PAIRS.filter(bool), st.integers(1, 5))
def test_items_without_a_bound_cost_no_user_an_event(
    pairs: list[tuple[int, int]], least: int
) -> None:
    users = [user for user, _ in pairs]
    kept = [row for row, user in enumerate(users) if users.count(user) >= least]
    if kept:
        assert core(pairs, least, 1)["row"].to_list() == kept


def test_a_removal_cascades_to_the_fixed_point() -> None:
    square = [(0, 0), (0, 1), (1, 0), (1, 1)]
    tail = [(1, 2), (2, 2), (2, 3), (3, 3)]  # each step of the tail frees the next
    assert core(square + tail, 2, 2)["row"].to_list() == [0, 1, 2, 3]


def test_repeated_reviews_count_each_time() -> None:
    assert len(core([(0, 0), (0, 0)], 2, 2)) == 2


def test_keeps_rows_in_order_with_all_columns() -> None:
    pairs = [(1, 1), (5, 5), (0, 1), (1, 0), (0, 0)]
    kept = core(pairs, 2, 2)
    assert kept.rows() == [
        ("u1", "i1", 0),
        ("u0", "i1", 2),
        ("u1", "i0", 3),
        ("u0", "i0", 4),
    ]


@given(PAIRS.filter(bool), st.sampled_from([(100, 100), (100, 1), (2, 100)]))
def test_says_which_bounds_leave_something(
    pairs: list[tuple[int, int]], bounds: tuple[int, int]
) -> None:
    with pytest.raises(SidiffError, match="none are left") as caught:
        core(pairs, *bounds)
    found = re.search(
        r"filtering\.min_item_interactions to (\d+) or less", str(caught.value)
    )
    assert found
    largest = int(found[1])
    assert naive(pairs, *(min(bound, largest) for bound in bounds))
    assert not naive(pairs, *(min(bound, largest + 1) for bound in bounds))


def test_says_why_nothing_survives() -> None:
    star = [(user, 0) for user in range(6)]
    with pytest.raises(
        SidiffError, match=r"most active user has 1, the most reviewed item 6"
    ):
        core(star, 5, 5)


def test_no_interactions_at_all() -> None:
    with pytest.raises(SidiffError, match="no interactions"):
        core([], 5, 5)


def log_of(rows: list[tuple[int, int, int]]) -> pl.DataFrame:
    return frame([(user, item) for user, item, _ in rows]).with_columns(
        timestamp=pl.Series([time for _, _, time in rows], dtype=pl.Int64)
    )


def check_repeats(rows: list[tuple[int, int, int]], seconds: int) -> None:
    kept = list(range(len(rows)))
    for pair in {row[:2] for row in rows}:
        own = [number for number, row in enumerate(rows) if row[:2] == pair]
        own.sort(key=lambda number: rows[number][2])
        for before, after in pairwise(own):
            if rows[after][2] - rows[before][2] <= seconds:
                kept.remove(after)
    log = log_of(rows)
    core = k_core(log.lazy(), 1, 1, seconds)
    assert core.frame.collect()["row"].to_list() == kept
    assert (core.merged, core.left_out) == (len(rows) - len(kept), 0)
    assert k_core(log.lazy(), 1, 1, None).frame.collect().equals(log)


@given(TIMED, st.integers(0, 3))
def test_of_a_repeated_event_the_first_row_stays(
    rows: list[tuple[int, int, int]], seconds: int
) -> None:
    check_repeats(rows, seconds)


@given(TIMED, st.integers(0, 3))
def test_merging_twice_changes_nothing(
    rows: list[tuple[int, int, int]], seconds: int
) -> None:
    once = k_core(log_of(rows).lazy(), 1, 1, seconds).frame.collect()
    again = k_core(once.lazy(), 1, 1, seconds)
    assert again.frame.collect().equals(once)
    assert again.merged == 0


def test_repeats_do_not_lift_an_item_into_the_core() -> None:
    log = log_of([(0, 0, 7), (0, 0, 7), (0, 0, 8)])
    with pytest.raises(SidiffError, match=r"Of 1 interactions none"):
        k_core(log.lazy(), 3, 3, 1)
    assert k_core(log.lazy(), 2, 2, 0).merged == 1


def test_what_is_merged_and_what_is_below_the_core_add_up() -> None:
    square = [(user, item, 100 * item) for user in (0, 1) for item in (0, 1)]
    core = k_core(log_of([*square, (2, 1, 5), (0, 0, 3)]).lazy(), 2, 2, 5)
    assert (core.merged, core.left_out) == (1, 1)
    assert len(core.frame.collect()) == 4


@given(TIMED, st.integers(0, 3))
def test_repeats_are_told_by_what_they_are_not_by_their_mixture(
    rows: list[tuple[int, int, int]], seconds: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        # Now all rows share one mixed number.
        patch.setattr(kcore, "_MIXERS", np.zeros(3, dtype=np.uint64))
        check_repeats(rows, seconds)
