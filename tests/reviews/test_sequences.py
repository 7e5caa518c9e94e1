from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidiff.errors import SidiffError
from sidiff.reviews.ingestion import ingest_reviews
from sidiff.reviews.kcore import k_core
from sidiff.reviews.sequences import (
    Sequences,
    TieBreak,
    Windows,
    build_sequences,
    draw_held_out,
    evaluation_samples,
    hold_out,
    sequence_rows,
    trained_places,
    training_counts,
    training_items,
    training_samples,
)
from tests.baselines.conftest import sequences_of

ROWS = st.lists(
    st.tuples(st.integers(0, 4), st.integers(0, 6), st.integers(0, 3)),
    min_size=1,
    max_size=40,
)
LENGTHS = st.lists(st.integers(1, 12), min_size=1, max_size=8)


def interactions(rows: list[tuple[int, int, int]]) -> pl.LazyFrame:
    return pl.LazyFrame(
        {
            "user_id": [f"u{user}" for user, _, _ in rows],
            "item_id": [f"i{item}" for _, item, _ in rows],
            # Two ticks to the second
            "timestamp": [time // 2 for _, _, time in rows],
            "microsecond": [time % 2 * 500_000 for _, _, time in rows],
        }
    )


def of_lengths(lengths: list[int]) -> Sequences:
    """Sequences over ten items in which neighbours differ."""
    items = [np.arange(user, user + length) % 10 for user, length in enumerate(lengths)]
    return Sequences(
        items=np.concatenate(items).astype(np.int32),
        offsets=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        user_ids=pl.Series("user_id", [f"u{user:02}" for user in range(len(lengths))]),
        item_ids=pl.Series("item_id", [f"i{item}" for item in range(10)]),
    )


def naive_samples(
    lengths: list[int], windows: Windows, shortest: int, longest: int
) -> list[list[int]]:
    found = []
    for user, length in enumerate(lengths):
        for end in range(length):
            for start in range(end):
                trains = end <= length - 3
                fits = shortest <= end - start <= longest
                wanted = {
                    "all": True,
                    "prefix": start == 0,
                    "sliding": start == max(0, end - longest),
                }
                if trains and fits and wanted[windows]:
                    found.append([user, start, end])
    return found


@given(ROWS, st.sampled_from(["item_id", "file_order"]))
def test_sequences_are_sorted_by_user_time_and_tie_rule(
    rows: list[tuple[int, int, int]], tie_break: TieBreak
) -> None:
    sequences, tied_share = build_sequences(interactions(rows), tie_break)
    users = sorted({user for user, _, _ in rows})
    assert sequences.user_ids.to_list() == [f"u{user}" for user in users]
    assert sequences.item_ids.to_list() == [
        f"i{item}" for item in sorted({item for _, item, _ in rows})
    ]
    tied: list[bool] = []
    for index, user in enumerate(users):
        own = [(time, item) for who, item, time in rows if who == user]
        own.sort(key=None if tie_break == "item_id" else lambda pair: pair[0])
        low, high = sequences.offsets[index : index + 2]
        ids = sequences.item_ids.gather(sequences.items[low:high]).to_list()
        assert ids == [f"i{item}" for _, item in own]
        times = [time for time, _ in own]
        tied += [times.count(time) > 1 for time in times]
    assert tied_share == pytest.approx(np.mean(tied))
    assert sequences.items.dtype == np.int32
    assert sequences.offsets.dtype == np.int64


@given(ROWS, st.sampled_from(["item_id", "file_order"]))
def test_further_items_are_in_the_vocabulary_only(
    rows: list[tuple[int, int, int]], tie_break: TieBreak
) -> None:
    before, tied_share = build_sequences(interactions(rows), tie_break)
    further = pl.Series("item_id", ["i9", "a", "i3", "i33"])
    after, same_share = build_sequences(interactions(rows), tie_break, further)
    assert same_share == tied_share
    assert after.item_ids.to_list() == sorted({*before.item_ids, *further})
    assert (
        after.item_ids.gather(after.items).to_list()
        == before.item_ids.gather(before.items).to_list()
    )
    assert after.offsets.tolist() == before.offsets.tolist()


def test_each_item_is_drawn_by_itself() -> None:
    ids = pl.Series([f"B{number:05}" for number in range(4000)])
    drawn = draw_held_out(ids, 0.25, 1)
    assert 0.2 < drawn.mean() < 0.3
    assert (draw_held_out(ids[1000:], 0.25, 1) == drawn[1000:]).all()
    assert (draw_held_out(ids, 0.5, 1) >= drawn).all()
    assert (draw_held_out(ids, 0.25, 2) != drawn).any()
    assert not draw_held_out(ids, 0.0, 1).any()


@given(LENGTHS, st.lists(st.booleans(), min_size=10, max_size=10))
def test_held_out_items_stay_as_targets_only(
    lengths: list[int], held_out: list[bool]
) -> None:
    before = of_lengths(lengths)
    after = hold_out(before, np.array(held_out))
    for user, length in enumerate(lengths):
        low, high = before.offsets[user : user + 2]
        own = before.items[low:high].tolist()
        expected = [
            item
            for position, item in enumerate(own)
            if position >= length - 2 or not held_out[item]
        ]
        low, high = after.offsets[user : user + 2]
        assert after.items[low:high].tolist() == expected
    assert after.user_ids.equals(before.user_ids)
    assert (after.items.dtype, after.offsets.dtype) == (np.int32, np.int64)
    assert not training_counts(after)[np.array(held_out)].any()


@given(
    LENGTHS,
    st.sampled_from(["sliding", "prefix", "all"]),
    st.integers(1, 4),
    st.integers(0, 6),
)
def test_training_samples_equal_the_enumeration(
    lengths: list[int], windows: Windows, shortest: int, more: int
) -> None:
    sequences = of_lengths(lengths)
    expected = naive_samples(lengths, windows, shortest, shortest + more)
    if not expected:
        with pytest.raises(SidiffError, match=r"lower filtering\.min_history"):
            training_samples(sequences, windows, shortest, shortest + more)
        return
    samples = training_samples(sequences, windows, shortest, shortest + more)
    assert samples.tolist() == expected
    assert samples.dtype == np.int32


def test_prefix_stops_at_the_longest_history_and_before_the_held_out_items() -> None:
    samples = training_samples(of_lengths([5, 60]), "prefix", 2, 50)
    assert samples[0].tolist() == [0, 0, 2]
    assert samples[1:, 2].tolist() == list(range(2, 51))


@given(LENGTHS, st.integers(1, 6))
def test_evaluation_samples_hold_out_the_last_two(
    lengths: list[int], longest: int
) -> None:
    sequences = of_lengths(lengths)
    for split, back in (("validation", 2), ("test", 1)):
        samples = evaluation_samples(sequences, split, longest)
        assert samples.tolist() == [
            [user, max(0, length - back - longest), length - back]
            for user, length in enumerate(lengths)
            if length - back >= 1
        ]


@given(LENGTHS)
def test_training_counts_leave_the_last_two_out(lengths: list[int]) -> None:
    sequences = of_lengths(lengths)
    expected = np.zeros(10, dtype=int)
    for user in range(len(lengths)):
        low, high = sequences.offsets[user : user + 2]
        for item in sequences.items[low:high][:-2]:
            expected[item] += 1
    assert training_counts(sequences).tolist() == expected.tolist()


@given(
    LENGTHS.filter(lambda lengths: max(lengths) >= 5),
    st.sampled_from(["sliding", "prefix", "all"]),
    st.integers(2, 5),
)
def test_training_items_are_those_of_histories_and_targets(
    lengths: list[int], windows: Windows, longest: int
) -> None:
    sequences = of_lengths(lengths)
    samples = training_samples(sequences, windows, 2, longest)
    expected = set()
    for user, start, end in samples.tolist():
        first = sequences.offsets[user]
        expected |= set(sequences.items[first + start : first + end + 1].tolist())
    places = trained_places(samples, sequences)
    assert set(sequences.items[places].tolist()) == expected
    reached = {
        int(sequences.offsets[user]) + place
        for user, start, end in samples.tolist()
        for place in range(start, end + 1)
    }
    assert set(np.flatnonzero(places).tolist()) == reached
    marked = training_items(samples, sequences)
    assert marked.dtype == bool
    assert set(np.flatnonzero(marked).tolist()) == expected


@given(ROWS)
def test_a_frame_and_back(rows: list[tuple[int, int, int]]) -> None:
    sequences, _ = build_sequences(interactions(rows), "item_id")
    frame = sequences.to_frame()
    assert frame.schema == {"user_id": pl.String, "items": pl.List(pl.Int32)}
    again = Sequences.from_frame(frame, sequences.item_ids)
    assert again.items.tolist() == sequences.items.tolist()
    assert again.offsets.tolist() == sequences.offsets.tolist()
    assert (again.items.dtype, again.offsets.dtype) == (np.int32, np.int64)
    assert again.user_ids.to_list() == sequences.user_ids.to_list()
    assert again.item_ids.to_list() == sequences.item_ids.to_list()


def test_a_frame_of_another_catalogue_is_refused() -> None:
    frame = of_lengths([5, 8]).to_frame()
    with pytest.raises(SidiffError, match="load both from one version"):
        Sequences.from_frame(frame, ["i0", "i1", "i2"])


@pytest.mark.real_data
def test_real_beauty_has_the_published_counts(real_data: Path) -> None:
    path = real_data / "amazon2014_beauty" / "reviews_Beauty_5.json.gz"
    core = k_core(ingest_reviews(path, "amazon2014").frame, 5, 5, None).frame
    sequences, tied_share = build_sequences(core, "item_id")
    assert tied_share == pytest.approx(0.575, abs=0.001)
    samples = training_samples(sequences, "prefix", 2, 50)
    assert (sequences.n_users, sequences.n_items) == (22_363, 12_101)
    assert sequences.items.size == 198_502
    assert len(samples) == 105_668
    assert training_items(samples, sequences).sum() == 12_061
    # 127 users are longer than the released rule reaches.
    sliding = training_samples(sequences, "sliding", 2, 50)
    assert len(sliding) == 109_050
    assert training_items(sliding, sequences).sum() == 12_068
    assert len(evaluation_samples(sequences, "validation", 50)) == 22_363
    # Ties by item id are what the genuine file order, sorted by item, gives as well.
    by_file, _ = build_sequences(core, "file_order")
    assert np.array_equal(by_file.items, sequences.items)
    # Figures of the release: mean history of samples, of validation and of test.
    test_history = np.minimum(sequences.lengths - 1, 50).mean()
    assert (samples[:, 2] - samples[:, 1]).mean() == pytest.approx(8.6, abs=0.05)
    assert test_history == pytest.approx(7.7, abs=0.05)


@given(st.lists(st.integers(1, 30), min_size=1, max_size=6), st.integers(1, 7))
def test_every_training_item_after_the_first_is_a_target_once(
    lengths: list[int], longest: int
) -> None:
    shop = sequences_of([list(range(length)) for length in lengths], 30)
    targets = []
    for user, start, end in sequence_rows(shop, longest).tolist():
        assert 1 <= end - start <= longest
        targets += [(user, place) for place in range(start + 1, end + 1)]
    assert sorted(targets) == [
        (user, place)
        for user, length in enumerate(lengths)
        for place in range(1, length - 2)
    ]


def test_the_newest_row_of_a_long_user_is_full() -> None:
    shop = sequences_of([list(range(14)), [0, 1, 2]], 14)
    assert sequence_rows(shop, 4).tolist() == [[0, 7, 11], [0, 3, 7], [0, 0, 3]]
