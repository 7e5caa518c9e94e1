"""Residual k-means: every digit quantizes the residual of the digits before it.

DiffGRM (arXiv 2510.21805) and MDGR (arXiv 2601.19501, Table 4) compare their product
quantizers with it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from sidiff.sids.quantizers.base import Quantizer, nearest


@dataclass(frozen=True, eq=False, kw_only=True)
class ResidualKMeans(Quantizer):
    """Residual quantizer: the nearest codeword of the residual, digit by digit.

    Attributes:
        codebooks: (L, K, d) float32.
    """

    kind = "rq_kmeans"
    whitened = False

    @classmethod
    def fit(
        cls, x: NDArray[np.float32], digits: int, codes: int, seed: int, use_gpu: bool
    ) -> Self:
        """Train one k-means per digit, each with another seed."""
        from sidiff.sids.faiss_training import (  # noqa: PLC0415 (slow)
            RESIDUAL_ITERATIONS,
            train_kmeans,
        )

        codebooks = []
        for digit in range(digits):
            codebook = train_kmeans(
                x,
                codes,
                iterations=RESIDUAL_ITERATIONS,
                seed=seed + digit,
                use_gpu=use_gpu,
            )
            codebooks.append(codebook)
            x = x - codebook[nearest(x, codebook)]
        return cls(codebooks=np.stack(codebooks))

    def _encode(self, x: NDArray[np.float32]) -> NDArray[np.uint16]:
        codes = np.empty((len(x), self.digits), dtype=np.uint16)
        for digit, codebook in enumerate(self.codebooks):
            codes[:, digit] = nearest(x, codebook)
            x = x - codebook[codes[:, digit]]
        return codes

    def reconstruct(self, codes: NDArray[np.integer]) -> NDArray[np.float32]:
        """Decode codes (n, L) to vectors, (n, d) float32."""
        words = self.codebooks[np.arange(self.digits), codes]  # (n, L, d)
        return words.sum(axis=1, dtype=np.float32)

    def digit_errors(self, aligned: NDArray[np.float64]) -> NDArray[np.float64]:
        """Compute squared lengths of codewords minus twice their dot products."""
        words = self.codebooks.astype(np.float64)
        squares = np.einsum("lkd,lkd->lk", words, words)
        dots = np.einsum("nd,lkd->nlk", aligned, words, optimize=True)
        errors = squares - 2 * dots
        errors[:, 0] += np.einsum("nd,nd->n", aligned, aligned)[:, None]
        return np.asarray(errors)

    @property
    def overlapping(self) -> NDArray[np.float64]:
        """Codewords (L, K, d), whose sum approximates a vector."""
        return self.codebooks.astype(np.float64)
