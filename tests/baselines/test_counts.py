"""The Markov chain against a literal count."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from sidiff.baselines.counts import Markov, transition_counts
from sidiff.baselines.ranking import item_histories
from sidiff.parameters import MarkovParameters
from sidiff.reviews.sequences import evaluation_samples

from .conftest import sequences_of


def users_of(sequences) -> list[list[int]]:
    return [
        sequences.items[a:b].tolist()
        for a, b in zip(sequences.offsets[:-1], sequences.offsets[1:], strict=True)
    ]


def counted(sequences) -> np.ndarray:
    table = np.zeros((sequences.n_items, sequences.n_items))
    for items in users_of(sequences):
        train = items[:-2]
        for one, other in itertools.pairwise(train):
            table[one, other] += 1
    return table


def test_transitions_of_the_training_part_only(noise) -> None:
    np.testing.assert_array_equal(transition_counts(noise).toarray(), counted(noise))
    short = sequences_of([[0], [1, 2], [0, 1, 2], [0, 1, 2, 1]], 3)
    assert transition_counts(short).toarray().sum() == 1


@pytest.mark.parametrize("decay", [0.0, 0.4, 1.0])
@pytest.mark.parametrize("repeat", [0.0, 0.7])
def test_scores(noise, decay, repeat) -> None:
    parameters = MarkovParameters(decay=decay, repeat=repeat, popularity=0.1)
    table = counted(noise)
    shares = table / np.maximum(table.sum(1, keepdims=True), 1)
    popular = np.bincount(
        np.concatenate([u[:-2] for u in users_of(noise)]), minlength=20
    )
    samples = evaluation_samples(noise, "test", 6)
    batch = item_histories(noise, torch.device("cpu")).gather(torch.from_numpy(samples))
    got = Markov(noise, parameters).scores(
        batch.history[..., 0].numpy(), batch.lengths.numpy()
    )
    for row, (user, start, end) in enumerate(samples.tolist()):
        wanted = 0.1 * popular / popular.sum()
        for age, item in enumerate(reversed(users_of(noise)[user][start:end])):
            wanted = wanted + decay**age * shares[item]
            wanted[item] += repeat * decay**age
        np.testing.assert_allclose(got[row], wanted, atol=1e-12)
