"""Transitions: counts of direct successions of items in the training part."""

from __future__ import annotations

import numpy as np
from scipy import sparse

from sidiff.reviews.sequences import Sequences, training_part


def transition_counts(sequences: Sequences) -> sparse.csr_array:
    """Count direct successions, ``(N, N)``, from row to column.

    Both items of a pair are at positions up to L-3 of one user's sequence.
    """
    items, users = training_part(sequences)
    same = users[1:] == users[:-1]
    pairs = (items[:-1][same], items[1:][same])
    shape = (sequences.n_items, sequences.n_items)
    return sparse.coo_array((np.ones(len(pairs[0])), pairs), shape=shape).tocsr()
