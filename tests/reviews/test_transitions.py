"""Transitions against a literal count."""

from __future__ import annotations

import itertools

import numpy as np

from sidiff.reviews.transitions import transition_counts
from tests.baselines.conftest import sequences_of


def test_transitions_of_the_training_part_only() -> None:
    rng = np.random.default_rng(0)
    users = [rng.integers(0, 20, n).tolist() for n in rng.integers(3, 12, 60)]
    table = np.zeros((20, 20))
    for items in users:
        for one, other in itertools.pairwise(items[:-2]):
            table[one, other] += 1
    counts = transition_counts(sequences_of(users, 20)).toarray()
    np.testing.assert_array_equal(counts, table)
    short = sequences_of([[0], [1, 2], [0, 1, 2], [0, 1, 2, 1]], 3)
    assert transition_counts(short).toarray().sum() == 1
