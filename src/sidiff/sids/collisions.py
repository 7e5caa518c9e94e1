"""The repair of semantic IDs that a quantizer gave several items.

All but one of them move to free SIDs nearby. The SIDs of *settled* items stay as they
are, so that a table can grow: items that come later never change what earlier ones are
called.

The SIDs nearby are grown digit by digit, keeping the ``count`` cheapest beginnings. The
cost of a product quantizer is a sum over digits, so no beginning outside of them can
lead to one of the ``count`` cheapest SIDs: the outcome is exact. Residual quantizers
have interactions between digits, and for them this is a beam search; it becomes exact
as ``count`` reaches the number of possible SIDs.
"""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from sidiff.errors import SidiffError
from sidiff.sids.quantizers import Quantizer
from sidiff.sids.table import group_codes
from sidiff.sids.threads import single_threaded_blas

logger = logging.getLogger(__name__)

TOGETHER = 128
"""Items of one SID that are assigned together; a larger group goes in portions."""

NEIGHBOURS = 8
"""SIDs around an item that are compared first, at least."""

NUMBERS_AT_ONCE = 2**23
"""Costs held in memory at a time (float64: 64 MiB)."""


def repair(
    codes: NDArray[np.uint16],
    settled: NDArray[np.bool_],
    quantizer: Quantizer,
    vectors: NDArray[np.float32],
) -> NDArray[np.uint16]:
    """Give every item a semantic ID of its own.

    One item of a shared SID keeps it: a settled one, or the one with the least
    quantization error. The others, up to ``TOGETHER`` at a time, get
    distinct free SIDs such that their squared errors add up to the least possible; with
    a residual quantizer, among the SIDs that a beam search finds. SIDs that the
    quantizer gave to any item are not free. The fullest groups choose first, then the
    order is that of the SIDs, so equal input gives equal output.

    Args:
        codes: (N, L), what the quantizer gave, and the final SIDs of settled items.
        settled: (N,), items whose SID must stay.
        quantizer: measures the error.
        vectors: (N, d) float32, as the quantizer encodes them.

    Returns:
        (N, L) uint16, all rows distinct if those of settled items are.

    Raises:
        SidiffError: there are more items than possible SIDs.
    """
    possible = quantizer.codebook_size**quantizer.digits
    if possible < len(codes):
        raise SidiffError(
            f"Only {possible:,} semantic IDs are possible for {len(codes):,} items; "
            "raise tokenization.digits or tokenization.codebook_size, or set "
            "tokenization.collisions to share."
        )
    order, bounds = _collisions(codes, settled, quantizer, vectors)
    repaired = codes.copy()
    if not len(order):
        return repaired
    stays = ~np.isin(np.arange(len(codes)), order)
    taken = np.unique(_keys(codes[stays]))
    points = quantizer.aligned(vectors[order])
    with single_threaded_blas():
        for start, end in bounds:
            for first in range(start, end, TOGETHER):
                portion = slice(first, min(first + TOGETHER, end))
                chosen = _assign(points[portion], taken, quantizer)
                repaired[order[portion]] = chosen
                keys = np.sort(_keys(chosen))
                taken = np.insert(taken, np.searchsorted(taken, keys), keys)
    logger.info(
        "Moved %s of %s items to free semantic IDs nearby",
        f"{len(order):,}",
        f"{int((~settled).sum()):,}",
    )
    return repaired


def _collisions(
    codes: NDArray[np.uint16],
    settled: NDArray[np.bool_],
    quantizer: Quantizer,
    vectors: NDArray[np.float32],
) -> tuple[NDArray[np.int64], list[tuple[int, int]]]:
    """Items that must move, SID by SID, and the bounds of each SID's, fullest first."""
    groups = group_codes(codes)
    colliding = np.flatnonzero(groups.sizes[groups.sid_of_item] > 1)
    words = quantizer.reconstruct(codes[colliding])
    errors = ((vectors[colliding].astype(np.float64) - words) ** 2).sum(axis=1)
    sid = groups.sid_of_item[colliding]
    order = np.lexsort((colliding, errors, ~settled[colliding], sid))
    keeps = np.ones(len(order), dtype=bool)
    keeps[1:] = sid[order][1:] != sid[order][:-1]
    moving = order[~keeps & ~settled[colliding[order]]]
    counts = np.bincount(sid[moving], minlength=len(groups.sizes))
    ends = np.cumsum(counts)
    fullest = np.argsort(-counts, kind="stable")
    fullest = fullest[counts[fullest] > 0]
    starts = (ends - counts)[fullest]
    bounds = list(zip(starts.tolist(), ends[fullest].tolist(), strict=True))
    return colliding[moving], bounds


def _assign(
    points: NDArray[np.float64], taken: NDArray[np.void], quantizer: Quantizer
) -> NDArray[np.uint16]:
    """Distinct SIDs (n, L) outside of ``taken`` for n items of one SID.

    An item needs no more than its n cheapest free SIDs: the other n - 1 items cannot
    take all of them. Within these the assignment is therefore the best of all.
    ``points`` are the items' vectors, aligned; ``taken`` is sorted.
    """
    items, digits = len(points), quantizer.digits
    possible = quantizer.codebook_size**digits
    # Equal items have equal candidates: a group often is one text many times.
    _, first, same = np.unique(_keys(points), return_index=True, return_inverse=True)
    count = max(NEIGHBOURS, 2 * items)
    while True:
        count = min(count, possible)
        sids, costs = nearest_sids(quantizer, points[first], count)
        keys = _keys(sids.reshape(-1, digits)).reshape(costs.shape)
        near = np.minimum(np.searchsorted(taken, keys), len(taken) - 1)
        free = taken[near] != keys
        if count == possible or (free.sum(axis=1) >= items).all():
            break
        count *= 4
    row, place = np.nonzero(free & (np.cumsum(free, axis=1) <= items))
    _, chosen, column = np.unique(
        keys[row, place], return_index=True, return_inverse=True
    )
    matrix = np.full((len(first), len(chosen)), np.inf)
    matrix[row, column] = costs[row, place]
    _, assigned = linear_sum_assignment(matrix[same])
    best = chosen[assigned]
    return sids[row[best], place[best]]


def _keys(rows: NDArray[Any]) -> NDArray[np.void]:
    """One comparable value per row (n, L): its bytes, so that no SID is too long."""
    rows = np.ascontiguousarray(rows)
    return rows.view(np.dtype((np.void, rows.shape[1] * rows.itemsize))).ravel()


def nearest_sids(
    quantizer: Quantizer, points: NDArray[np.float64], count: int
) -> tuple[NDArray[np.uint16], NDArray[np.float64]]:
    """The SIDs with the least squared error for each point.

    Args:
        quantizer: a fitted quantizer of L digits.
        points: (n, d) float64, vectors as ``Quantizer.aligned`` gives them.
        count: how many SIDs; fewer come back where fewer are possible.

    Returns:
        SIDs (n, count, L), cheapest first, and their costs (n, count).
    """
    costs, words = quantizer.digit_errors(points), quantizer.overlapping
    width = max(costs.shape[2], words.shape[2])
    step = max(1, NUMBERS_AT_ONCE // (count * width))
    parts = [
        _search(costs[start : start + step], count, words)
        for start in range(0, len(costs), step)
    ]
    sids, totals = zip(*parts, strict=True)
    return np.concatenate(sids), np.concatenate(totals)


def _search(
    costs: NDArray[np.float64], count: int, words: NDArray[np.float64]
) -> tuple[NDArray[np.uint16], NDArray[np.float64]]:
    """Grow SIDs digit by digit.

    ``costs`` (n, L, K) is what each code costs by itself; the dot products of the
    codewords ``words`` (L, K, w) count twice in addition.
    """
    rows, digits, size = costs.shape
    codes = np.zeros((rows, 1, 0), dtype=np.uint16)
    totals = np.zeros((rows, 1))
    sums = np.zeros((rows, 1, words.shape[2]))
    for digit in range(digits):
        grown = totals[:, :, None] + costs[:, None, digit]
        if words.shape[2]:  # codebooks that overlap
            grown += 2 * (sums @ words[digit].T)
        flat = grown.reshape(rows, -1)
        best = _smallest(flat, count)
        parent, code = np.divmod(best, size)
        totals = np.take_along_axis(flat, best, axis=1)
        before = np.take_along_axis(codes, parent[:, :, None], axis=1)
        codes = np.concatenate([before, code[:, :, None].astype(np.uint16)], axis=2)
        sums = np.take_along_axis(sums, parent[:, :, None], axis=1)
        sums += words[digit][code]
    return codes, totals


def _smallest(values: NDArray[np.float64], count: int) -> NDArray[np.int64]:
    """Places of the ``count`` smallest values of every row, smallest first."""
    if count >= values.shape[1]:
        return np.argsort(values, axis=1, kind="stable")
    places = np.sort(np.argpartition(values, count - 1, axis=1)[:, :count], axis=1)
    chosen = np.take_along_axis(values, places, axis=1)
    order = np.argsort(chosen, axis=1, kind="stable")
    return np.take_along_axis(places, order, axis=1)
