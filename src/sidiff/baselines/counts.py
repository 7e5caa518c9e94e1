"""Popularity and a Markov chain: what counting alone achieves.

Both count in the training part only, the positions up to L-3 of every sequence.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from sidiff.parameters import MarkovParameters
from sidiff.reviews.sequences import Sequences, training_counts
from sidiff.reviews.transitions import transition_counts


class Markov:
    """A first-order Markov chain that looks back over the whole history.

    An item's score is its share among the successors of each item of the history,
    weighted by ``decay ** age`` (age 0 is the last item), plus ``repeat`` times the
    weights of its own occurrences, plus ``popularity`` times its share of the training
    part. With ``decay`` 0 and a tiny ``popularity`` it is the last-item chain, backed
    off to popularity.
    """

    def __init__(self, sequences: Sequences, parameters: MarkovParameters) -> None:
        self.parameters = parameters
        counts = transition_counts(sequences)
        totals = np.maximum(counts.sum(axis=1), 1.0)
        self.shares = sparse.csr_array(sparse.diags_array(1.0 / totals) @ counts)
        popular = training_counts(sequences).astype(np.float64)
        self.popularity = parameters.popularity * popular / max(1.0, popular.sum())

    def scores(
        self, history: NDArray[np.int64], lengths: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        """Score all items after each history.

        Args:
            history: items, oldest first, right-padded with any item, ``(B, T)``.
            lengths: real items ``(B,)``.

        Returns:
            ``(B, N)``.
        """
        age = lengths[:, None] - 1 - np.arange(history.shape[1])
        row, slot = np.nonzero(age >= 0)
        weight = np.power(self.parameters.decay, age[row, slot], dtype=np.float64)
        weights = sparse.coo_array(
            (weight, (row, history[row, slot])),
            shape=(len(history), self.shares.shape[0]),
        ).tocsr()
        followed = weights @ self.shares + self.parameters.repeat * weights
        return followed.toarray() + self.popularity
