"""Quantizers: a vector to L codes, and back to an approximation.

A fitted quantizer is a few arrays; faiss trains it and is not needed afterwards. To add
one: a class of ``Quantizer`` in a file here, and its line in ``QUANTIZERS``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sidiff.registry import Registry
from sidiff.sids.quantizers.base import Quantizer

if TYPE_CHECKING:
    from sidiff.sids.settings import TokenizationParameters

__all__ = ["QUANTIZERS", "Quantizer", "fit_quantizer"]

QUANTIZERS: Registry[type[Quantizer]] = Registry(
    opq="sidiff.sids.quantizers.product:Product",
    rq_kmeans="sidiff.sids.quantizers.residual:ResidualKMeans",
)
"""Quantizers by their names in ``tokenization.quantizer``."""


def fit_quantizer(
    x_train: NDArray[np.float32], parameters: TokenizationParameters, codes: int
) -> Quantizer:
    """Train a quantizer; the same input, seed and thread count give the same one.

    Args:
        x_train: (n, d) float32, the training items: whitened embeddings or plain ones,
            as ``Quantizer.whitened`` says.
        parameters: kind, one of ``QUANTIZERS``, digits, seed, threads and device.
        codes: K, see ``choose_codes``.

    Raises:
        SidiffError: no GPU where one is demanded.
    """
    from sidiff.sids.faiss_training import (  # noqa: PLC0415 (slow to import)
        faiss_threads,
        gpu_available,
    )

    use_gpu = gpu_available(parameters.device)
    with faiss_threads(parameters.threads):
        return QUANTIZERS[parameters.quantizer].fit(
            x_train, parameters.digits, codes, seed=parameters.seed, use_gpu=use_gpu
        )
