"""Recall and NDCG at SID level and at item level.

Each user has one target. Recall@k is 1 when the target is among the first k, NDCG@k is
1 / log2(rank + 1). At item level the target is an item of the user's list. At SID level
it is a semantic ID among the ranked SIDs, as in the papers. The expected item level is
computed from the ranked SIDs: the c items of one SID share its place in uniformly
random order. With c = 1 all levels agree.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sidiff.sids.table import Groups

Values = dict[str, NDArray[np.float64]]
"""Metric name to its value for each user, ``(U,)``."""


def metrics_from_ranks(ranks: NDArray[np.int64], cutoffs: Sequence[int]) -> Values:
    """Per-user metrics from the target's rank.

    Args:
        ranks: 0 for the first place; negative where the target is missing, ``(U,)``.
        cutoffs: the k's.

    Returns:
        ``recall_at_k`` and ``ndcg_at_k`` for each k.
    """
    values: Values = {}
    for k in cutoffs:
        hit = (ranks >= 0) & (ranks < k)
        gain = 1.0 / np.log2(np.where(hit, ranks, 0) + 2.0)
        values[f"recall_at_{k}"] = hit.astype(np.float64)
        values[f"ndcg_at_{k}"] = np.where(hit, gain, 0.0)
    return values


def hit_metrics(
    ranked: NDArray[np.int64], targets: NDArray[np.int64], cutoffs: Sequence[int]
) -> Values:
    """Metrics of lists, at either level.

    Args:
        ranked: items, or rows of distinct SIDs, best first, -1 for an empty place,
            ``(U, k)``.
        targets: item of each target, or row of its SID, ``(U,)``.
        cutoffs: the k's.
    """
    return metrics_from_ranks(_first_match(ranked, targets), cutoffs)


def expected_item_metrics(
    ranked: NDArray[np.int64],
    targets: NDArray[np.int64],
    group_sizes: NDArray[np.int64],
    cutoffs: Sequence[int],
) -> Values:
    """Expected item-level metrics under a uniform order inside each SID.

    Args:
        ranked: rows of distinct SIDs, best first, -1 for an empty place, ``(U, k)``.
        targets: row of each target's SID, ``(U,)``.
        group_sizes: items of each SID, ``(S,)``.
        cutoffs: the k's.
    """
    place = _first_match(ranked, targets)
    sizes = np.where(ranked >= 0, group_sizes[ranked], 0)
    ahead_of = np.cumsum(sizes, axis=1) - sizes
    found = place >= 0
    first = ahead_of[np.arange(len(ranked)), np.maximum(place, 0)]
    size = group_sizes[targets]
    values: Values = {}
    for k in cutoffs:
        # The target takes each of the places first .. first + size - 1 equally often.
        gains = np.concatenate([[0.0], np.cumsum(1.0 / np.log2(np.arange(k) + 2.0))])
        low, high = np.minimum(first, k), np.minimum(first + size, k)
        values[f"recall_at_{k}"] = np.where(found, (high - low) / size, 0.0)
        values[f"ndcg_at_{k}"] = np.where(found, (gains[high] - gains[low]) / size, 0.0)
    return values


def level_means(
    items: NDArray[np.int64],
    sids: NDArray[np.int64],
    targets: NDArray[np.int64],
    groups: Groups,
    cutoffs: Sequence[int],
    prefix: str,
) -> dict[str, float]:
    """Mean metrics of lists: ``prefix/sid/...``, ``.../item``, ``.../item_expected``.

    Args:
        items: ranked items ``(U, k)``, as in ``Results``.
        sids: ranked SIDs ``(U, k)``.
        targets: target items ``(U,)``.
        groups: the items' SIDs.
        cutoffs: the k's.
        prefix: before every name.
    """
    target_sids = groups.sid_of_item[targets]
    levels = {
        "sid": hit_metrics(sids, target_sids, cutoffs),
        "item": hit_metrics(items, targets, cutoffs),
        "item_expected": expected_item_metrics(
            sids, target_sids, groups.sizes, cutoffs
        ),
    }
    return {
        f"{prefix}/{level}/{name}": float(value.mean())
        for level, values in levels.items()
        for name, value in values.items()
    }


def _first_match(
    ranked: NDArray[np.int64], targets: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Place of the target in its row, -1 where it is missing."""
    match = ranked == targets[:, None]
    return np.where(match.any(axis=1), match.argmax(axis=1), -1)
