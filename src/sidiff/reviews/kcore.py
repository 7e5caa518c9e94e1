"""k-core of the bipartite user-item graph, with a bound for each side.

Amazon's "5-core" files are the core with both bounds 5: every user and every item keeps
at least five interactions. Removing a user may push an item below its bound and vice
versa, so the pass is repeated to the fixed point, which does not depend on the order of
removal. MDGR (arXiv 2601.19501, 5.1.1) bounds users only: 5 and 1.

A log may be larger than the memory. Only integers are in memory, eight bytes an
interaction and as much again during the removal; texts stream from file to file.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from sidiff.errors import SidiffError

logger = logging.getLogger(__name__)

_KEPT = "kept by the core"


@dataclass(frozen=True)
class Core:
    """Interactions of a core, and counts of the removed ones.

    Attributes:
        frame: the remaining rows, in order.
        merged: number of rows that repeated an event.
        left_out: number of further rows, of users or items with too few.
    """

    frame: pl.LazyFrame
    merged: int
    left_out: int


def k_core(
    interactions: pl.LazyFrame,
    least_user: int,
    least_item: int,
    merge_seconds: int | None,
) -> Core:
    """Keep the interactions of users and items that have enough of them.

    A degree counts interactions: a user who reviewed an item twice adds two to both
    degrees, as in Amazon's own files.

    Args:
        interactions: columns ``user_id`` and ``item_id`` (strings), ``timestamp`` (i64,
            seconds) where events are merged, any others kept. Read several times.
        least_user: smallest degree of a user; 1 keeps all users.
        least_item: smallest degree of an item; 1 keeps all items.
        merge_seconds: an interaction at most this long after the last one of the same
            user and item repeats that event and is removed before anything is counted;
            None keeps all.

    Raises:
        SidiffError: no interaction remains; names the largest degrees.
    """
    users, _ = encode(interactions, "user_id")
    items, _ = encode(interactions, "item_id")
    kept = np.ones(users.size, dtype=bool)
    if merge_seconds is not None:
        times = interactions.select("timestamp").collect(engine="streaming")
        kept = _events(users, items, times.to_series().to_numpy(), merge_seconds)
        users, items = users[kept], items[kept]
    merged = kept.size - users.size
    if merge_seconds is not None:
        logger.info("%s repeats within %d s merged", f"{merged:,}", merge_seconds)
    core = _peel(users, items, least_user, least_item)
    if not core.any():
        raise SidiffError(_nothing_left(users, items, least_user, least_item))
    kept[kept] = core
    logger.info(
        "Users with at least %d and items with at least %d interactions have %s of %s",
        least_user,
        least_item,
        f"{core.sum():,}",
        f"{kept.size:,}",
    )
    marked = pl.concat([interactions, pl.LazyFrame({_KEPT: kept})], how="horizontal")
    left_out = int(core.size - core.sum())
    return Core(marked.filter(_KEPT).drop(_KEPT), merged, left_out)


def encode(
    frame: pl.LazyFrame, column: str, further: pl.Series | None = None
) -> tuple[NDArray[np.int32], pl.Series]:
    """Replace each id by its index among the sorted distinct ids.

    Returns:
        int32 ``[E]``, and the sorted distinct ids, including those of ``further``.
    """
    ids = frame.select(column).unique().collect(engine="streaming").to_series()
    if further is not None:
        ids = pl.concat([ids, further.cast(pl.String).alias(column)]).unique()
    ids = ids.sort()
    # A cast to an enum looks up every id and keeps the order of the rows.
    place = pl.col(column).cast(pl.Enum(ids)).to_physical().cast(pl.Int32)
    codes = frame.select(place).collect(engine="streaming").to_series()
    return codes.to_numpy(), ids


def _events(
    users: NDArray[np.int32],
    items: NDArray[np.int32],
    times: NDArray[np.int64],
    seconds: int,
) -> NDArray[np.bool_]:
    """Mark the first row of each event: bool ``[E]``.

    Rows of the same user and item are one event as long as each lies at most
    ``seconds`` after the one before it.
    """
    pairs = users.astype(np.int64) * (items.max(initial=0) + np.int64(1)) + items
    # Only repeated pairs of user and item need the slow sort of rows by time.
    ordered = np.sort(pairs)
    several = np.unique(ordered[1:][ordered[1:] == ordered[:-1]])
    rows = np.flatnonzero(np.isin(pairs, several))
    # The sort is stable: of rows with equal times, the first in the file stays.
    rows = rows[np.lexsort((times[rows], pairs[rows]))]
    before, after = rows[:-1], rows[1:]
    first = np.ones(users.size, dtype=bool)
    first[after] = (pairs[after] != pairs[before]) | (
        times[after] - times[before] > seconds
    )
    return first


def _peel(
    users: NDArray[np.int32],
    items: NDArray[np.int32],
    least_user: int,
    least_item: int,
) -> NDArray[np.bool_]:
    """Mark the edges of the core: bool ``[E]``."""
    kept = np.ones(users.size, dtype=bool)
    rows = np.arange(users.size, dtype=np.int32 if users.size < 2**31 else np.int64)
    while rows.size:
        stays = (np.bincount(users) >= least_user)[users]
        stays &= (np.bincount(items) >= least_item)[items]
        if stays.all():
            break
        kept[rows[~stays]] = False
        rows, users, items = rows[stays], users[stays], items[stays]
    return kept


def _nothing_left(
    users: NDArray[np.int32],
    items: NDArray[np.int32],
    least_user: int,
    least_item: int,
) -> str:
    if not users.size:
        return "There are no interactions to filter: check the ingested reviews."
    largest_user = int(np.bincount(users).max())
    largest_item = int(np.bincount(items).max())
    return (
        f"Of {users.size:,} interactions none are left among users with at least "
        f"{least_user} and items with at least {least_item} (the most active user has "
        f"{largest_user:,}, the most reviewed item {largest_item:,}): lower "
        "filtering.min_user_interactions or filtering.min_item_interactions, or give "
        "more reviews."
    )
