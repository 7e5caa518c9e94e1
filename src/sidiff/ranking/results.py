"""The lists of one method for the users of a split, and their cost."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray


@dataclass(frozen=True)
class Cost:
    """The cost of a ranking, and figures of its search.

    Attributes:
        seconds: wall-clock time of ranking all users.
        users_per_second: number of users by ``seconds``.
        denoiser_calls: denoiser passes per user, mean over the users; 0 without a
            search.
        distinct_states: share of distinct states among those denoised.
        valid_share: share of decoded SIDs that belong to an item.
        completed_share: share of users whose list one-pass scores filled up.
    """

    seconds: float
    users_per_second: float
    denoiser_calls: float = 0.0
    distinct_states: float = 1.0
    valid_share: float = 1.0
    completed_share: float = 0.0


@dataclass(frozen=True)
class Results:
    """Ranked items and semantic IDs of U users by one method.

    Attributes:
        items: item indices, best first, -1 for an empty place, ``(U, k)``.
        scores: comparable within a list, -inf at an empty place, ``(U, k)``.
        sids: rows of distinct SIDs, best first, -1 for an empty place, ``(U, k)``.
        users: user indices ``(U,)``.
        targets: item index of each target ``(U,)``.
        history: number of items in each history, ``(U,)``.
        cost: of the ranking.
    """

    items: NDArray[np.int64]
    scores: NDArray[np.float32]
    sids: NDArray[np.int64]
    users: NDArray[np.int64]
    targets: NDArray[np.int64]
    history: NDArray[np.int64]
    cost: Cost

    def to_frame(self, method: str, seed: int) -> pl.DataFrame:
        """One row per user: method, seed, user, target, history, items, sids."""
        lists = pl.Array(pl.Int32, self.items.shape[1])
        return pl.DataFrame(
            {
                "user": self.users.astype(np.int32),
                "target": self.targets.astype(np.int32),
                "history": self.history.astype(np.int32),
                "items": pl.Series(self.items.astype(np.int32), dtype=lists),
                "sids": pl.Series(self.sids.astype(np.int32), dtype=lists),
            }
        ).select(
            pl.lit(method).alias("method"),
            pl.lit(seed, dtype=pl.Int32).alias("seed"),
            pl.all(),
        )


class Ranked(NamedTuple):
    """The lists of one method with one seed."""

    method: str
    seed: int
    results: Results


def result_frames(
    ranked: Iterable[Ranked],
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Lists and costs of methods, as two frames.

    Returns:
        Rows of ``Results.to_frame``, and rows of method, seed and the fields of
        ``Cost``.
    """
    lists, costs = [], []
    for method, seed, results in ranked:
        lists.append(results.to_frame(method, seed))
        costs.append({"method": method, "seed": seed, **asdict(results.cost)})
    return pl.concat(lists), pl.DataFrame(costs, schema_overrides={"seed": pl.Int32})
