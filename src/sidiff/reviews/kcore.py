"""The core of the bipartite user-item graph, with a bound for each side.

Amazon's "5-core" files are this graph's core with both bounds 5: every user and every
item keeps at least five interactions. Dropping a user may push an item below its bound
and the other way round, so one pass is not enough: the pass is repeated to the fixed
point, which does not depend on the order of removal. MDGR (arXiv 2601.19501, 5.1.1)
bounds users only: 5 and 1.

A log may be larger than the memory. Only integers are held, eight bytes an
interaction and as much again while peeling; texts stream from file to file.
"""

from __future__ import annotations

import logging
from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from sidiff.errors import SidiffError

logger = logging.getLogger(__name__)

Repeats = Literal["keep", "drop"]

_KEPT = "kept by the core"
# Odd and without a pattern in their bits.
_MIXERS = np.array(
    [0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9], dtype=np.uint64
)


def k_core(
    interactions: pl.LazyFrame, least_user: int, least_item: int, repeats: Repeats
) -> pl.LazyFrame:
    """Keep the interactions among users and items that have enough of them.

    A degree counts interactions: a user who reviewed an item twice adds two to both
    degrees, as in Amazon's own files.

    Args:
        interactions: columns ``user_id`` and ``item_id`` (strings), ``timestamp`` where
            repeats are dropped, any others kept. Read several times.
        least_user: smallest degree of a user; 1 keeps all users.
        least_item: smallest degree of an item; 1 keeps all items.
        repeats: ``drop`` takes out, before anything is counted, all interactions of
            the same user, item and time but the first.

    Returns:
        The surviving rows in their order.

    Raises:
        SidiffError: nothing survives; says why and which bound leaves something.
    """
    users, _ = encode(interactions, "user_id")
    items, _ = encode(interactions, "item_id")
    kept = np.ones(users.size, dtype=bool)
    if repeats == "drop":
        times = interactions.select("timestamp").collect(engine="streaming")
        kept = _first_of_repeats(users, items, times.to_series().to_numpy())
        users, items = users[kept], items[kept]
        logger.info("%s repeats dropped", f"{kept.size - users.size:,}")
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
    return (
        pl.concat([interactions, pl.LazyFrame({_KEPT: kept})], how="horizontal")
        .filter(_KEPT)
        .drop(_KEPT)
    )


def encode(
    frame: pl.LazyFrame, column: str, further: pl.Series | None = None
) -> tuple[NDArray[np.int32], pl.Series]:
    """Replace each id by its place among the sorted distinct ids.

    Args:
        frame: has the string column ``column``, without nulls.
        column: its name.
        further: ids that count among the distinct ones as well.

    Returns:
        int32 ``[E]``, and the distinct ids, sorted.
    """
    ids = frame.select(column).unique().collect(engine="streaming").to_series()
    if further is not None:
        ids = pl.concat([ids, further.cast(pl.String).alias(column)]).unique()
    ids = ids.sort()
    # A cast looks every id up in one table and leaves the rows where they are.
    place = pl.col(column).cast(pl.Enum(ids)).to_physical().cast(pl.Int32)
    codes = frame.select(place).collect(engine="streaming").to_series()
    return codes.to_numpy(), ids


def _first_of_repeats(
    users: NDArray[np.int32], items: NDArray[np.int32], times: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Mark the first row of each (user, item, time): bool ``[E]``."""
    # Sorting plain numbers is many times faster than ordering rows by three keys, and
    # few rows share theirs with another; only those are compared in full.
    mixed = users.astype(np.uint64) * _MIXERS[0]
    mixed += items.astype(np.uint64) * _MIXERS[1]
    mixed += times.astype(np.uint64) * _MIXERS[2]
    ordered = np.sort(mixed)
    shared = np.unique(ordered[1:][ordered[1:] == ordered[:-1]])
    first = np.ones(users.size, dtype=bool)
    if shared.size:
        place = np.minimum(np.searchsorted(shared, mixed), shared.size - 1)
        rows = np.flatnonzero(shared[place] == mixed)
        keys = (users[rows], items[rows], times[rows])
        same = pl.DataFrame(dict(zip("uit", keys, strict=True)))
        first[rows] = same.select(pl.struct("u", "i", "t").is_first_distinct())[
            "u"
        ].to_numpy()
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
    # Bounds of 1 keep everything, so the search always has a valid lower end.
    possible, impossible = 1, max(least_user, least_item)
    while impossible - possible > 1:
        middle = (possible + impossible) // 2
        bounds = min(least_user, middle), min(least_item, middle)
        if _peel(users, items, *bounds).any():
            possible = middle
        else:
            impossible = middle
    return (
        f"Of {users.size:,} interactions none are left among users with at least "
        f"{least_user} and items with at least {least_item} (the most active user has "
        f"{largest_user:,}, the most reviewed item {largest_item:,}): set "
        "filtering.min_user_events and filtering.min_item_events to "
        f"{possible} or less, or give more reviews."
    )
