"""The semantic IDs nearest to an item, cheapest first: where repair may move it.

Both functions grow SIDs digit by digit and keep the ``count`` cheapest beginnings. The
cost of a product quantizer is a sum over digits, so no beginning outside of them can
lead to one of the ``count`` cheapest SIDs: the outcome is exact. Residual quantizers
have interactions between digits, and for them this is a beam search; it becomes exact
as ``count`` reaches the number of possible SIDs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sidiff.sids.quantizers import Quantizer

NUMBERS_AT_ONCE = 2**23
"""Costs held in memory at a time (float64: 64 MiB)."""

Candidates = tuple["NDArray[np.uint16]", "NDArray[np.float64]"]
"""SIDs (n, count, L), cheapest first, and their costs (n, count)."""


def by_error(
    quantizer: Quantizer, points: NDArray[np.float64], count: int
) -> Candidates:
    """The SIDs with the least squared error for each point.

    Args:
        quantizer: a fitted quantizer of L digits.
        points: (n, d) float64, vectors as ``Quantizer.aligned`` gives them.
        count: how many SIDs; fewer come back where fewer are possible.

    Returns:
        SIDs and their squared errors.
    """
    return _cheapest(quantizer.digit_errors(points), count, quantizer.overlapping)


def by_counting(
    codes: NDArray[np.uint16], codebook_size: int, count: int
) -> Candidates:
    """The SIDs that follow each given one, where no quantizer measures a distance.

    Each digit counts up from its own code and wraps around; the last digit moves first,
    so the front of a SID stays as long as there is room behind it.

    Args:
        codes: (n, L).
        codebook_size: K.
        count: how many SIDs; fewer come back where fewer are possible.

    Returns:
        SIDs, the given one first, and how many steps away each is.
    """
    digits = codes.shape[1]
    steps = (np.arange(codebook_size) - codes[:, :, None].astype(np.int64)) % (
        codebook_size
    )
    # Beyond the bound no two beginnings are compared by their number of steps anyway.
    weights = np.minimum(float(codebook_size) ** np.arange(digits)[::-1], 1e200)
    return _cheapest(steps * weights[:, None], count, None)


def _cheapest(
    costs: NDArray[np.float64], count: int, words: NDArray[np.float64] | None
) -> Candidates:
    """Cut the rows so that memory is bounded, and search.

    Args:
        costs: (n, L, K), what each code costs by itself.
        count: see ``by_error``.
        words: (L, K, d), codewords whose dot products count twice on top; None where
            digits do not interact.
    """
    width = max(costs.shape[2], words.shape[2] if words is not None else 0)
    step = max(1, NUMBERS_AT_ONCE // (count * width))
    parts = [
        _search(costs[start : start + step], count, words)
        for start in range(0, len(costs), step)
    ]
    return np.concatenate([sids for sids, _ in parts]), np.concatenate(
        [total for _, total in parts]
    )


def _search(
    costs: NDArray[np.float64], count: int, words: NDArray[np.float64] | None
) -> Candidates:
    rows, digits, size = costs.shape
    codes = np.zeros((rows, 1, 0), dtype=np.uint16)
    totals = np.zeros((rows, 1))
    sums = np.zeros((rows, 1, words.shape[2])) if words is not None else None
    for digit in range(digits):
        grown = totals[:, :, None] + costs[:, None, digit]
        if words is not None and sums is not None:
            grown += 2 * (sums @ words[digit].T)
        flat = grown.reshape(rows, -1)
        best = _smallest(flat, count)
        parent, code = np.divmod(best, size)
        totals = np.take_along_axis(flat, best, axis=1)
        codes = np.concatenate(
            [
                np.take_along_axis(codes, parent[:, :, None], axis=1),
                code[:, :, None].astype(np.uint16),
            ],
            axis=2,
        )
        if words is not None and sums is not None:
            sums = np.take_along_axis(sums, parent[:, :, None], axis=1)
            sums += words[digit][code]
    return codes, totals


def _smallest(values: NDArray[np.float64], count: int) -> NDArray[np.int64]:
    """Places of the ``count`` smallest values of every row, smallest first."""
    if count < values.shape[1]:
        places = np.sort(np.argpartition(values, count - 1, axis=1)[:, :count], axis=1)
    else:
        places = np.broadcast_to(np.arange(values.shape[1]), values.shape)
    order = np.argsort(
        np.take_along_axis(values, places, axis=1), axis=1, kind="stable"
    )
    return np.take_along_axis(places, order, axis=1)
