"""The repair of semantic IDs that a quantizer gave several items.

All but one of them move to free SIDs nearby. The SIDs of *settled* items stay as they
are, so that a table can grow: items that come later never change what earlier ones are
called.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.optimize import linear_sum_assignment

from sidiff.errors import SidiffError
from sidiff.sids.candidates import Candidates, by_counting, by_error
from sidiff.sids.table import group_codes
from sidiff.sids.threads import single_threaded_blas

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sidiff.sids.quantizers import Quantizer

logger = logging.getLogger(__name__)

TOGETHER = 128
"""Items of one SID that are assigned together; a larger crowd goes in portions."""

NEIGHBOURS = 8
"""SIDs around an item that are looked at first, at least."""


def repair(
    codes: NDArray[np.uint16],
    codebook_size: int,
    settled: NDArray[np.bool_],
    quantizer: Quantizer | None,
    vectors: NDArray[np.float32] | None,
) -> NDArray[np.uint16]:
    """Give every item a semantic ID of its own.

    One item of a crowded SID keeps it: a settled one, or the one with the least
    quantization error, or the first. The others, up to ``TOGETHER`` at a time, get
    distinct free SIDs such that their squared errors add up to the least possible; with
    a residual quantizer, among the SIDs that a beam search finds. SIDs that the
    quantizer gave to anybody are not free. The fullest groups choose first, then the
    order is that of the SIDs, so equal input gives equal output.

    Args:
        codes: (N, L), what the quantizer gave, and the final SIDs of settled items.
        codebook_size: K.
        settled: (N,), items whose SID must stay.
        quantizer: measures the error; None where there is none, and then items move on
            to the next free SIDs in counting order.
        vectors: (N, d) float32, as the quantizer encodes them; None without one.

    Returns:
        (N, L) uint16, all rows distinct if those of settled items are.

    Raises:
        SidiffError: there are more items than possible SIDs.
    """
    _check_room(codes, codebook_size)
    order, bounds = _crowds(codes, settled, quantizer, vectors)
    repaired = codes.copy()
    if not len(order):
        return repaired
    stays = ~np.isin(np.arange(len(codes)), order)
    taken = np.unique(_keys(codes[stays]))
    points = None
    if quantizer is not None and vectors is not None:
        points = quantizer.aligned(vectors[order])
    with single_threaded_blas():
        for start, end in bounds:
            for first in range(start, end, TOGETHER):
                portion = slice(first, min(first + TOGETHER, end))
                chosen = _assign(
                    codes[order[portion]],
                    codebook_size,
                    taken,
                    quantizer,
                    None if points is None else points[portion],
                )
                repaired[order[portion]] = chosen
                keys = np.sort(_keys(chosen))
                taken = np.insert(taken, np.searchsorted(taken, keys), keys)
    logger.info(
        "Moved %s of %s items to free semantic IDs nearby",
        f"{len(order):,}",
        f"{int((~settled).sum()):,}",
    )
    return repaired


def _check_room(codes: NDArray[np.uint16], codebook_size: int) -> None:
    possible = codebook_size ** codes.shape[1]
    if possible < len(codes):
        raise SidiffError(
            f"Only {possible:,} semantic IDs are possible for {len(codes):,} items; "
            "raise tokenization.digits or tokenization.codes, or set "
            "tokenization.collisions to share."
        )


def unused(codes: NDArray[np.uint16], table: NDArray[np.uint16]) -> NDArray[np.bool_]:
    """Mark the rows of ``codes`` (n, L) that are no row of ``table`` (N, L)."""
    return ~np.isin(_keys(codes), _keys(table))


def _crowds(
    codes: NDArray[np.uint16],
    settled: NDArray[np.bool_],
    quantizer: Quantizer | None,
    vectors: NDArray[np.float32] | None,
) -> tuple[NDArray[np.int64], list[tuple[int, int]]]:
    """Items that must move, SID by SID, and the bounds of each SID's, fullest first."""
    groups = group_codes(codes)
    crowded = np.flatnonzero(groups.sizes[groups.sid_of_item] > 1)
    errors = np.zeros(len(crowded))
    if quantizer is not None and vectors is not None and len(crowded):
        words = quantizer.reconstruct(codes[crowded])
        errors = ((vectors[crowded].astype(np.float64) - words) ** 2).sum(axis=1)
    sid = groups.sid_of_item[crowded]
    order = np.lexsort((crowded, errors, ~settled[crowded], sid))
    keeps = np.ones(len(order), dtype=bool)
    keeps[1:] = sid[order][1:] != sid[order][:-1]
    moving = order[~keeps & ~settled[crowded[order]]]
    counts = np.bincount(sid[moving], minlength=len(groups.sizes))
    ends = np.cumsum(counts)
    fullest = np.argsort(-counts, kind="stable")
    fullest = fullest[counts[fullest] > 0]
    starts = (ends - counts)[fullest]
    bounds = list(zip(starts.tolist(), ends[fullest].tolist(), strict=True))
    return crowded[moving], bounds


def _assign(
    codes: NDArray[np.uint16],
    codebook_size: int,
    taken: NDArray[np.void],
    quantizer: Quantizer | None,
    points: NDArray[np.float64] | None,
) -> NDArray[np.uint16]:
    """Distinct SIDs (n, L) outside of ``taken`` for n items of one SID.

    An item needs no more than its n cheapest free SIDs: the other n - 1 items cannot
    take all of them. Within these the assignment is therefore the best of all.
    """
    items, possible = len(codes), codebook_size ** codes.shape[1]
    # Equal items have equal candidates: a crowd often is one text many times.
    origin = codes if points is None else points
    _, first, same = np.unique(_keys(origin), return_index=True, return_inverse=True)
    count = max(NEIGHBOURS, 2 * items)
    while True:
        count = min(count, possible)
        sids, costs = _candidates(codes, codebook_size, quantizer, points, first, count)
        keys = _keys(sids.reshape(-1, codes.shape[1])).reshape(costs.shape)
        free = ~_among(keys, taken)
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


def _candidates(
    codes: NDArray[np.uint16],
    codebook_size: int,
    quantizer: Quantizer | None,
    points: NDArray[np.float64] | None,
    rows: NDArray[np.int64],
    count: int,
) -> Candidates:
    if quantizer is None or points is None:
        return by_counting(codes[rows], codebook_size, count)
    return by_error(quantizer, points[rows], count)


def _among(keys: NDArray[np.void], taken: NDArray[np.void]) -> NDArray[np.bool_]:
    """Keys that occur in the sorted array ``taken``, bool."""
    place = np.minimum(np.searchsorted(taken, keys), len(taken) - 1)
    return np.asarray(taken[place] == keys)


def _keys(rows: NDArray[Any]) -> NDArray[np.void]:
    """One comparable value per row (n, L): its bytes, so that no SID is too long."""
    rows = np.ascontiguousarray(rows)
    return rows.view(np.dtype((np.void, rows.shape[1] * rows.itemsize))).ravel()
