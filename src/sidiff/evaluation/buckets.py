"""Buckets of test users: by popularity of the target, and by length of the history."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sidiff.evaluation.settings import ComparisonParameters

HELD_OUT = "held out"
"""Bucket of the targets that were kept out of training on purpose."""


def buckets_of(
    users: pl.DataFrame, catalogue: pl.DataFrame, parameters: ComparisonParameters
) -> dict[tuple[str, str], NDArray[np.bool_]]:
    """The users of every bucket that has any: (by, bucket) to ``(U,)``."""
    targets = users["target"].to_numpy()
    values = {
        "popularity": (
            catalogue["training_count"].to_numpy()[targets],
            parameters.popularity_edges,
            0,
        ),
        "history": (users["history"].to_numpy(), parameters.history_edges, 1),
    }
    buckets = {}
    for by, (value, edges, first) in values.items():
        index = np.searchsorted(edges, value, side="right")
        for place, name in enumerate(bucket_names(edges, first)):
            buckets[by, name] = index == place
    if "held_out" in catalogue.columns:
        buckets["held_out", HELD_OUT] = catalogue["held_out"].to_numpy()[targets]
    return {key: chosen for key, chosen in buckets.items() if chosen.any()}


def bucket_names(edges: Sequence[int], first: int) -> list[str]:
    """Names of the buckets: below the first edge, between edges, from the last on.

    Args:
        edges: the smallest value of every bucket but the first, ascending.
        first: the smallest value there is.
    """
    lows = [first, *edges]
    bounded = [
        str(low) if high == low + 1 else f"{low}-{high - 1}"
        for low, high in zip(lows, edges, strict=False)
    ]
    return [*bounded, f"{edges[-1]}+"]
