"""Quantizers: vectors to L codes, and back to approximations.

A fitted quantizer is a few arrays; faiss is only needed for training. To add a
quantizer, write a subclass of ``Quantizer`` and its line in ``QUANTIZERS``.
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
    """Train a quantizer; equal input, seed and thread count give an equal result.

    Args:
        x_train: (n, d) float32, embeddings of the training items, whitened if
            ``Quantizer.whitened``.
        parameters: ``quantizer``, ``digits``, ``seed``, ``threads`` and ``device`` are
            used.
        codes: K, see ``choose_codes``.

    Raises:
        SidiffError: the device is "cuda" and faiss sees no GPU.
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
