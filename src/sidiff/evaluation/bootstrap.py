"""Confidence intervals of means over users, by resampling the users."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sidiff.evaluation.settings import BootstrapParameters

CELLS = 4_000_000
"""Resamples x users held at once: 32 MB of weights. It changes no number drawn."""


def bootstrap_intervals(
    values: NDArray[np.float64], parameters: BootstrapParameters
) -> NDArray[np.float64]:
    """Percentile intervals of the mean of each column.

    Each resample draws U of the U users with replacement, once for all columns, so
    that columns differ in nothing but their values. A column that leaves users out
    (NaN) has the mean over those drawn that it has; a resample with none of them is
    left out for this column.

    Args:
        values: one column per figure, NaN where it does not cover a user, ``(U, C)``;
            every column covers at least one.
        parameters: how many resamples, the level and the seed.

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
