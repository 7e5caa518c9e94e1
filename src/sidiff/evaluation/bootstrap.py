"""Confidence intervals of means over users, by resampling the users."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sidiff.evaluation.settings import BootstrapParameters

CELLS = 4_000_000
"""Resamples x users in memory at once: 32 MB of weights."""


def bootstrap_intervals(
    values: NDArray[np.float64], parameters: BootstrapParameters
) -> NDArray[np.float64]:
    """Percentile intervals of the mean of each column.

    Each resample draws U of the U users with replacement, the same for all columns. The
    mean of a column is over the drawn users that it covers. A resample without any of
    them is ignored for the column.

    Args:
        values: one column per figure, NaN where it does not cover a user, ``(U, C)``;
            every column covers at least one user.
        parameters: number of resamples, level and seed.

    Returns:
        Lower and upper bounds, ``(2, C)``.
    """
    users, columns = values.shape
    covered = ~np.isnan(values)
    # Sums and numbers of users in one product with the weights of the users.
    terms = np.hstack([np.where(covered, values, 0.0), covered])
    generator = np.random.default_rng(parameters.seed)
    means = np.empty((parameters.resamples, columns))
    step = max(1, CELLS // users)
    for first in range(0, parameters.resamples, step):
        size = min(step, parameters.resamples - first)
        drawn = generator.integers(users, size=(size, users))
        drawn += np.arange(size)[:, None] * users
        weights = np.bincount(drawn.ravel(), minlength=size * users)
        sums = weights.reshape(size, users).astype(np.float64) @ terms
        with np.errstate(invalid="ignore"):
            means[first : first + size] = sums[:, :columns] / sums[:, columns:]
    tail = (1.0 - parameters.confidence) / 2.0
    return np.nanquantile(means, [tail, 1.0 - tail], axis=0)
