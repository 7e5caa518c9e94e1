"""Product quantization (OPQ): independent digits.

Vectors are rotated, shifted and cut into L equal pieces, and each digit is the nearest
of K codewords to a piece. This is DiffGRM's "parallel semantic encoding" (arXiv
2510.21805) and, with the blocks of the rotation as projections f_l, Eqs. 6-7 of MDGR
(arXiv 2601.19501).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from sidiff.sids.quantizers.base import Quantizer, nearest
from sidiff.sids.threads import single_threaded_blas


@dataclass(frozen=True, eq=False, kw_only=True)
class Product(Quantizer):
    """Product quantizer after a learned rotation.

    Attributes:
        codebooks: (L, K, d / L) float32.
        rotation: (d, d) float32, orthogonal, applied as ``rotation @ x``.
        offset: (d,) float32, subtracted after the rotation; None for zero.
    """

    kind = "opq"
    whitened = True
    cuts = True

    rotation: NDArray[np.float32]
    offset: NDArray[np.float32] | None = None

    @classmethod
    def fit(
        cls, x: NDArray[np.float32], digits: int, codes: int, seed: int, use_gpu: bool
    ) -> Self:
        """Train with faiss, see ``train_product``."""
        from sidiff.sids.faiss_training import train_product  # noqa: PLC0415 (slow)

        return cls(**train_product(x, digits, codes, seed=seed, use_gpu=use_gpu))

    def _encode(self, x: NDArray[np.float32]) -> NDArray[np.uint16]:
        pieces = np.split(self.aligned(x), self.digits, axis=1)
        return np.stack(list(map(nearest, pieces, self.codebooks)), axis=1)

    def reconstruct(self, codes: NDArray[np.integer]) -> NDArray[np.float32]:
        """Decode codes (n, L) to vectors, (n, d) float32."""
        words = self.codebooks[np.arange(self.digits), codes]  # (n, L, d / L)
        vectors = words.reshape(len(codes), self.dimensions)
        if self.offset is not None:
            vectors = vectors + self.offset
        with single_threaded_blas():
            return vectors @ self.rotation

    def aligned(self, x: NDArray[np.float32]) -> NDArray[np.float64]:
        """Rotate and shift rows (n, d) to the space of the codebooks."""
        with single_threaded_blas():
            aligned = x.astype(np.float64) @ self.rotation.T.astype(np.float64)
        if self.offset is not None:
            aligned -= self.offset
        return aligned

    def digit_errors(self, aligned: NDArray[np.float64]) -> NDArray[np.float64]:
        """Compute the squared distances (n, L, K) of pieces to codewords."""
        words = self.codebooks.astype(np.float64)
        squares = np.einsum("lkd,lkd->lk", words, words)
        pieces = aligned.reshape(len(aligned), self.digits, -1)
        dots = np.einsum("nld,lkd->nlk", pieces, words, optimize=True)
        lengths = np.einsum("nld,nld->nl", pieces, pieces)
        return np.asarray(lengths[:, :, None] - 2 * dots + squares)
