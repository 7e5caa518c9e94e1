"""Collision repair: a distinct semantic ID (SID) for every item.

Of the items with one SID, one keeps it and the others move to free SIDs nearby. SIDs of
*settled* items never change, so a table can be extended by new items.

Candidate SIDs are built digit by digit; only the ``count`` cheapest prefixes are kept.
For a product quantizer, whose cost is a sum over digits, the result is exact. For a
residual quantizer, whose digits interact, this is a beam search, which is exact if
``count`` is the number of possible SIDs.
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
"""Items of one SID that are assigned together; larger groups are split."""

NEIGHBOURS = 8
"""Smallest number of candidate SIDs of an item in the first search."""

NUMBERS_AT_ONCE = 2**23
"""Costs in memory at a time (float64: 64 MiB)."""


def repair(
    codes: NDArray[np.uint16],
    settled: NDArray[np.bool_],
    quantizer: Quantizer,
    vectors: NDArray[np.float32],
) -> NDArray[np.uint16]:
    """Give every item a semantic ID of its own.

    One item of a shared SID keeps it: a settled one, or the one with the least
    quantization error. The others, up to ``TOGETHER`` at a time, get distinct free SIDs
    with the least sum of squared errors (with a residual quantizer, among the SIDs that
    the beam search finds). SIDs that the quantizer gave to any item are not free. The
    largest groups come first, then groups in the order of their SIDs, so equal input
    gives equal output.

    Args:
        codes: (N, L), codes of the quantizer, and final SIDs of settled items.
        settled: (N,), items whose SID must not change.
        quantizer: a fitted quantizer, which measures the error.
        vectors: (N, d) float32, input of the quantizer.

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
    """Return the items that must move, by SID, and each SID's bounds, largest first."""
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
    """Assign distinct SIDs (n, L) that are not ``taken`` to n items of one SID.

    The n cheapest free SIDs of each item suffice for the best assignment, because the
    other n - 1 items cannot take all of them. ``points`` are aligned vectors;
    ``taken`` is sorted.
    """
    items, digits = len(points), quantizer.digits
    possible = quantizer.codebook_size**digits
    # Equal items, such as repeated texts, have equal candidates.
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
    """Convert rows (n, L) to comparable keys: their bytes, for any number of digits."""
    rows = np.ascontiguousarray(rows)
    return rows.view(np.dtype((np.void, rows.shape[1] * rows.itemsize))).ravel()


def nearest_sids(
    quantizer: Quantizer, points: NDArray[np.float64], count: int
) -> tuple[NDArray[np.uint16], NDArray[np.float64]]:
    """Find the SIDs with the least squared error for each point.

    Args:
        quantizer: a fitted quantizer of L digits.
        points: (n, d) float64, vectors as ``Quantizer.aligned`` gives them.
        count: number of SIDs; there are fewer if fewer are possible.

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
    """Search the ``count`` cheapest SIDs digit by digit.

    ``costs`` (n, L, K) are the costs of single codes; twice the dot products of the
    codewords ``words`` (L, K, w) of a SID are added.
    """
    rows, digits, size = costs.shape
    codes = np.zeros((rows, 1, 0), dtype=np.uint16)
    totals = np.zeros((rows, 1))
    sums = np.zeros((rows, 1, words.shape[2]))
    for digit in range(digits):
        grown = totals[:, :, None] + costs[:, None, digit]
        if words.shape[2]:  # overlapping codebooks
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
    """Find the indices of the ``count`` smallest values of each row, in order."""
    if count >= values.shape[1]:
        return np.argsort(values, axis=1, kind="stable")
    places = np.sort(np.argpartition(values, count - 1, axis=1)[:, :count], axis=1)
    chosen = np.take_along_axis(values, places, axis=1)
    order = np.argsort(chosen, axis=1, kind="stable")
    return np.take_along_axis(places, order, axis=1)
