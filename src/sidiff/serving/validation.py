"""NDCG of a bundle's lists for the users of the validation split.

Symbols: U users.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
import polars as pl
from numpy.typing import NDArray

from sidiff.evaluation.metrics import metrics_from_ranks
from sidiff.reviews.sequences import Sequences
from sidiff.serving.recommender import ListOptions, Recommender

CUTOFF = 10


@dataclass(frozen=True)
class ValidationUsers:
    """Users of the validation split, with item ids, which bundles share.

    Attributes:
        histories: ids of the items before the target, oldest first ``(U,)``.
        targets: ids of the target items ``(U,)``.
    """

    histories: pl.Series
    targets: pl.Series

    @classmethod
    def of(cls, sequences: Sequences, samples: NDArray[np.int32]) -> Self:
        """The users of ``samples`` ``(U, 3)``: user, start, end."""
        users, starts, ends = samples.T.astype(np.int64)
        first = sequences.offsets[users]
        histories = [
            sequences.item_ids.gather(sequences.items[begin:end])
            for begin, end in zip(first + starts, first + ends, strict=True)
        ]
        targets = sequences.item_ids.gather(sequences.items[first + ends])
        return cls(pl.Series(histories, dtype=pl.List(pl.String)), targets)


def ndcg(recommender: Recommender, users: ValidationUsers) -> NDArray[np.float64]:
    """NDCG@10 of every user's list ``(U,)``.

    Seen items stay in the lists, as in the validation of a training.
    """
    options = ListOptions(k=CUTOFF, exclude_seen=False)
    lists = recommender.lists(users.histories, options)
    ranks = np.full(len(lists), -1)
    for user, (found, target) in enumerate(zip(lists, users.targets, strict=True)):
        for rank, item in enumerate(found):
            if item.item_id == target:
                ranks[user] = rank
    return metrics_from_ranks(ranks, [CUTOFF])[f"ndcg_at_{CUTOFF}"]
