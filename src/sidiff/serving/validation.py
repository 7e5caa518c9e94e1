"""The comparison of two bundles on the same validation users.

A bundle takes another one's place only where the difference is more than noise: where
the bootstrap interval of the mean difference of NDCG@10 over users lies above 0.

Symbols: U users.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from sidiff.evaluation.bootstrap import bootstrap_intervals
from sidiff.evaluation.metrics import hit_metrics
from sidiff.evaluation.settings import BootstrapParameters
from sidiff.reviews.sequences import Sequences
from sidiff.serving.recommender import Recommender

CUTOFF = 10


@dataclass(frozen=True)
class Asked:
    """Users of the validation split.

    Attributes:
        histories: their item ids, oldest first, without the last two ``(U,)``.
        targets: ids of the items that came next ``(U,)``.
    """

    histories: pl.Series
    targets: pl.Series

    @classmethod
    def of(cls, sequences: Sequences, samples: NDArray[np.int32]) -> Asked:
        """Of ``samples`` ``(U, 3)``: user, start, end."""
        user, start, end = samples.T.astype(np.int64)
        first = sequences.offsets[user]
        lengths = end - start
        row = np.repeat(np.arange(len(samples)), lengths)
        inside = np.arange(len(row)) - np.repeat(lengths.cumsum() - lengths, lengths)
        items = sequences.items[(first + start)[row] + inside]
        flat = pl.DataFrame({"row": row, "ids": sequences.item_ids.gather(items)})
        lists = flat.group_by("row", maintain_order=True).agg("ids")
        targets = sequences.item_ids.gather(sequences.items[first + end])
        return cls(lists["ids"], targets)


def ndcg(recommender: Recommender, asked: Asked) -> NDArray[np.float64]:
    """NDCG@10 of every user's list ``(U,)``.

    Nothing is left out of the lists, as in the validation of a training.
    """
    lists = recommender.lists(asked.histories, CUTOFF, exclude_seen=False)
    targets = recommender.rows(asked.targets)
    targets[targets < 0] = -2  # an item that the bundle does not know is no empty place
    return hit_metrics(lists.items, targets, [CUTOFF])[f"ndcg_at_{CUTOFF}"]


class Difference(NamedTuple):
    """By how much one bundle ranks better than another.

    Attributes:
        mean: of the difference in NDCG@10.
        low: end of its interval.
        high: likewise.
    """

    mean: float
    low: float
    high: float

    @classmethod
    def between(
        cls,
        challenger: NDArray[np.float64],
        champion: NDArray[np.float64],
        parameters: BootstrapParameters,
    ) -> Difference:
        """Of two bundles' NDCG for the same users ``(U,)``."""
        differences = challenger - champion
        low, high = bootstrap_intervals(differences[:, None], parameters)[:, 0]
        return cls(float(differences.mean()), float(low), float(high))
