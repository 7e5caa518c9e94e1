"""Collaborative vectors against plain counting and a dense factorisation."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from sidiff.errors import SidiffError
from sidiff.reviews.sequences import Sequences
from sidiff.sids.collaborative import (
    co_occurrence,
    collaborative_vectors,
    fuse,
    fused_fingerprints,
    history_vectors,
)
from sidiff.sids.settings import CollaborativeParameters


@pytest.fixture(scope="module")
def history() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    users = np.sort(rng.integers(0, 30, 300))
    return rng.integers(0, 18, 300), users


@pytest.mark.parametrize("window", [1, 3])
def test_counts_are_those_of_a_plain_loop(history, window) -> None:
    items, users = history
    expected = np.zeros((20, 20))
    for i in range(len(items)):
        for j in range(i + 1, min(i + window + 1, len(items))):
            if users[i] == users[j] and items[i] != items[j]:
                expected[items[i], items[j]] += 1 / (j - i)
                expected[items[j], items[i]] += 1 / (j - i)
    counts = co_occurrence(items, users, 20, window)
    np.testing.assert_allclose(counts.toarray(), expected)


def test_vectors_factorise_the_information(history) -> None:
    items, users = history
    counts = co_occurrence(items, users, 20, 3)
    dense = counts.toarray()
    sums = dense.sum(1)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = dense * sums.sum() / np.outer(sums, sums)
        information = np.where(dense > 0, np.maximum(np.log(ratio), 0), 0)
    left, values, _ = np.linalg.svd(information)
    expected = left[:, :4] * np.sqrt(values[:4])
    lengths = np.linalg.norm(expected, axis=1, keepdims=True)
    expected = np.divide(expected, lengths, where=lengths > 1e-9, out=expected * 0)
    got = collaborative_vectors(counts, 4, seed=0)
    np.testing.assert_allclose(np.abs(got), np.abs(expected), atol=1e-4)
    np.testing.assert_allclose(got @ got.T, expected @ expected.T, atol=1e-4)
    assert not got[18:].any()  # never bought
    again = collaborative_vectors(counts, 4, seed=0)
    assert (got == again).all()


def test_items_bought_together_become_neighbours() -> None:
    """Two crowds with their own items; only histories tell them apart."""
    rng = np.random.default_rng(1)
    crowd = rng.integers(0, 2, 200)
    items = (crowd[:, None] * 10 + rng.integers(0, 10, (200, 6))).ravel()
    users = np.repeat(np.arange(200), 6)
    vectors = collaborative_vectors(co_occurrence(items, users, 20, 5), 2, 0)
    likeness = vectors @ vectors.T
    inside = likeness[:10, :10].mean() + likeness[10:, 10:].mean()
    assert inside > 2 * likeness[:10, 10:].mean() + 1


def test_fused_vectors_share_their_length_by_weight() -> None:
    text = np.eye(3, 4, dtype=np.float32)
    other = np.eye(3, 2, dtype=np.float32)
    fused = fuse(text, other, 0.25)
    assert fused.shape == (3, 6)
    squares = (fused**2).sum(1)
    np.testing.assert_allclose(squares, [1.0, 1.0, 0.75], rtol=1e-6)


def test_too_many_dimensions_are_one_clear_error(history) -> None:
    with pytest.raises(SidiffError, match=r"collaborative\.dimensions"):
        collaborative_vectors(co_occurrence(*history, 20, 1), 20, 0)


def test_new_items_change_nothing_for_the_others() -> None:
    rng = np.random.default_rng(3)
    lengths = rng.integers(4, 9, 40)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    items = rng.integers(0, 15, int(lengths.sum())).astype(np.int32)
    users = pl.Series([f"u{i:02}" for i in range(40)])
    old = Sequences(items, offsets, users, pl.Series([f"i{i:02}" for i in range(15)]))
    # Two items more, of which one comes first in the vocabulary.
    names = ["a", *old.item_ids.to_list(), "z"]
    new = Sequences(items + 1, offsets, users, pl.Series(names))
    p = CollaborativeParameters(weight=0.5, dimensions=4, window=3)
    before, after = (history_vectors(s, p, 0) for s in (old, new))
    assert (after[1:16] == before).all()
    assert not after[[0, 16]].any()
    text = pl.Series(["t"] * 15)
    prints = fused_fingerprints(text, before)
    assert prints.equals(fused_fingerprints(text, after[1:16]))
    assert prints[0] != fused_fingerprints(text, before + 1)[0]


def test_held_out_interactions_are_not_read() -> None:
    rng = np.random.default_rng(5)
    items = rng.integers(0, 10, 200).astype(np.int32)
    offsets = np.arange(0, 201, 10)
    users = pl.Series([f"u{i:02}" for i in range(20)])
    ids = pl.Series([f"i{i}" for i in range(10)])
    other = items.copy()
    other[np.arange(200) % 10 >= 8] = 0
    p = CollaborativeParameters(weight=0.5, dimensions=3, window=5)
    one, two = (
        history_vectors(Sequences(x, offsets, users, ids), p, 0) for x in (items, other)
    )
    assert (one == two).all()
