"""Residual k-means: every digit refines what the digits before it left over.

The control that DiffGRM (arXiv 2510.21805) and MDGR (arXiv 2601.19501, Table 4) compare
their product quantizers with.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from sidiff.sids.quantizers.base import Quantizer, nearest


@dataclass(frozen=True, eq=False, kw_only=True)
class ResidualKMeans(Quantizer):
    """Nearest codewords of what is left over, digit by digit.

    Attributes:
        codebooks: (L, K, d) float32.
    """

    kind = "rq_kmeans"
    whitened = False

    @classmethod
    def fit(
        cls, x: NDArray[np.float32], digits: int, codes: int, seed: int, use_gpu: bool
    ) -> Self:
        """Train one k-means a digit, each with a seed of its own."""
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

    @property
    def dimensions(self) -> int:
        """Number of dimensions d of a vector."""
        return int(self.codebooks.shape[2])

    def _encode(self, x: NDArray[np.float32]) -> NDArray[np.uint16]:
        codes = np.empty((len(x), self.digits), dtype=np.uint16)
        for digit, codebook in enumerate(self.codebooks):
            codes[:, digit] = nearest(x, codebook)
            x = x - codebook[codes[:, digit]]
        return codes

    def reconstruct(self, codes: NDArray[np.integer]) -> NDArray[np.float32]:
        """The vectors that codes (n, L) stand for, (n, d) float32."""
        words = self.codebooks[np.arange(self.digits), codes]  # (n, L, d)
        return words.sum(axis=1, dtype=np.float32)

    def digit_errors(self, aligned: NDArray[np.float64]) -> NDArray[np.float64]:
        """Squared length of each codeword less its dot products, (n, L, K)."""
        words = self.codebooks.astype(np.float64)
        squares = np.einsum("lkd,lkd->lk", words, words)
        dots = np.einsum("nd,lkd->nlk", aligned, words, optimize=True)
        errors = squares - 2 * dots
        errors[:, 0] += np.einsum("nd,nd->n", aligned, aligned)[:, None]
        return np.asarray(errors)

    @property
    def overlapping(self) -> NDArray[np.float64]:
        """Codewords (L, K, d): the digits add up in one space."""
        return self.codebooks.astype(np.float64)
