"""The k-core of the bipartite user-item graph.

Amazon's "5-core" files are this graph's 5-core: every user and every item keeps at
least five interactions. Dropping a user may push an item below the bound and the
other way round, so one pass is not enough: the pass is repeated to the fixed point,
which does not depend on the order of removal.
"""

from __future__ import annotations

import logging

import numpy as np
import polars as pl
from numpy.typing import NDArray

from sidiff.errors import SidiffError

logger = logging.getLogger(__name__)


def k_core(interactions: pl.DataFrame, k: int) -> pl.DataFrame:
    """Keep the interactions among users and items with at least ``k`` of them.

    A degree counts interactions: a user who reviewed an item twice adds two to both
    degrees, as in Amazon's own files.

    Args:
        interactions: columns ``user_id`` and ``item_id`` (strings), any others kept.
        k: smallest degree of a user and of an item; 1 keeps everything.

    Returns:
        The surviving rows in their order.

    Raises:
        SidiffError: nothing survives; says why and which ``k`` leaves something.
    """
    users = dense_index(interactions["user_id"])
    items = dense_index(interactions["item_id"])
    kept = _peel(users, items, k)
    if not kept.any():
        raise SidiffError(_nothing_left(users, items, k))
    logger.info(
        "%d-core keeps %s of %s interactions", k, f"{kept.sum():,}", f"{kept.size:,}"
    )
    return interactions.filter(pl.Series(kept))


def dense_index(ids: pl.Series) -> NDArray[np.int64]:
    """Replace each id by its place among the sorted distinct ids: int64 ``[E]``."""
    return ids.rank("dense").to_numpy().astype(np.int64) - 1


def _peel(
    users: NDArray[np.int64], items: NDArray[np.int64], k: int
) -> NDArray[np.bool_]:
    """Mark the edges of the k-core: bool ``[E]``."""
    alive = np.arange(users.size)
    while alive.size:
        user_degree = np.bincount(users[alive])
        item_degree = np.bincount(items[alive])
        stays = (user_degree[users[alive]] >= k) & (item_degree[items[alive]] >= k)
        if stays.all():
            break
        alive = alive[stays]
    kept = np.zeros(users.size, dtype=bool)
    kept[alive] = True
    return kept


def _nothing_left(users: NDArray[np.int64], items: NDArray[np.int64], k: int) -> str:
    if not users.size:
        return "There are no interactions to filter: check the ingested reviews."
    largest_user = int(np.bincount(users).max())
    largest_item = int(np.bincount(items).max())
    # The 1-core is everything, so the search below always has a valid lower end.
    possible, impossible = 1, k
    while impossible - possible > 1:
        middle = (possible + impossible) // 2
        if _peel(users, items, middle).any():
            possible = middle
        else:
            impossible = middle
    return (
        f"The {k}-core of {users.size:,} interactions is empty (the most active user "
        f"has {largest_user:,}, the most reviewed item {largest_item:,}): set "
        f"filtering.core to {possible} or less, or give more reviews."
    )
