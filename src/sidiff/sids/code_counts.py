"""The number of codes per digit, and codes that need no quantizer."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import numpy as np

from sidiff.errors import SidiffError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sidiff.sids.settings import TokenizationParameters

logger = logging.getLogger(__name__)

POINTS_PER_CODE = 39
"""Training points that a k-means centroid needs (faiss's rule of thumb)."""


def choose_codes(
    parameters: TokenizationParameters, n_train: int, least: int = 2
) -> int:
    """Settle the number of codes per digit, and say why in the log.

    ``codes`` is taken as it is. ``auto`` is ``max_codes`` where there are 39 training
    items for each of so many codes, and else the largest power of two that there are
    39 items a code for, or 2.

    Args:
        parameters: quantizer, codes and max_codes are used.
        n_train: number of training items; quantizers that are trained need one a code.
        least: ``auto`` chooses at least so many, see ``enough_codes``.

    Raises:
        SidiffError: more codes than training items.
    """
    most, trained = parameters.max_codes, parameters.quantizer != "random"
    if parameters.codes != "auto":
        codes = parameters.codes
        if trained and codes <= n_train < codes * POINTS_PER_CODE:
            logger.info(
                "Codes per digit: %d, as set; %s training items are fewer than the %d "
                "per code that k-means likes",
                codes,
                f"{n_train:,}",
                POINTS_PER_CODE,
            )
    else:
        possible = min(most, max(2, n_train // POINTS_PER_CODE))
        if possible < most:
            possible = 1 << (possible.bit_length() - 1)
        codes = max(possible, least)
        if n_train >= codes * POINTS_PER_CODE:
            why = f"at least {POINTS_PER_CODE} per code, at most {most} codes"
        else:
            why = "as few as tell all items apart, though k-means likes more per code"
        logger.info(
            "Codes per digit: %d, chosen for %s training items (%s)",
            codes,
            f"{n_train:,}",
            why,
        )
    if trained and codes > n_train:
        raise SidiffError(
            f"{codes} codes per digit need at least as many training items, and there "
            f"are {n_train}; lower tokenization.codes."
        )
    return codes


def enough_codes(items: int, digits: int) -> int:
    """Fewest codes, a power of two, with twice as many semantic IDs as items."""
    codes = 2
    while codes**digits < 2 * items:
        codes *= 2
    return codes


def random_codes(n: int, digits: int, codes: int, seed: int) -> NDArray[np.uint16]:
    """Uniform codes (n, L): the control in which a SID says nothing of its item."""
    generator = np.random.default_rng(seed)
    return generator.integers(codes, size=(n, digits), dtype=np.uint16)
