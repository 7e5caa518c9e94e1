"""Base class of quantizers, and the search of nearest codewords."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from sidiff.errors import SidiffError
from sidiff.sids.threads import single_threaded_blas

SCORES_AT_ONCE = 2**23
"""Scores of points and centroids in memory at a time (float64: 64 MiB)."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Quantizer(ABC):
    """A fitted quantizer of d dimensions into L digits of K codes.

    Attributes:
        kind: name in the configuration and in the stored metadata.
        whitened: the quantizer is for whitened embeddings.
        cuts: each digit encodes an equal part of the dimensions.
        codebooks: float32 ``[L, K, ...]``.
    """

    kind: ClassVar[str]
    whitened: ClassVar[bool]
    cuts: ClassVar[bool] = False

    codebooks: NDArray[np.float32]

    @classmethod
    @abstractmethod
    def fit(
        cls, x: NDArray[np.float32], digits: int, codes: int, seed: int, use_gpu: bool
    ) -> Self:
        """Train on the rows of ``x`` (n, d)."""

    @property
    def digits(self) -> int:
        """L, the number of codes of a semantic ID."""
        return len(self.codebooks)

    @property
    def codebook_size(self) -> int:
        """K, the number of codewords of a digit."""
        return int(self.codebooks.shape[1])

    @property
    def dimensions(self) -> int:
        """Number of dimensions d of a vector."""
        width = int(self.codebooks.shape[2])
        return width * self.digits if self.cuts else width

    def encode(self, x: NDArray[np.float32]) -> NDArray[np.uint16]:
        """Find the codes of the nearest codewords.

        Args:
            x: (n, d) float32.

        Returns:
            (n, L) uint16; the lowest code of equally near codewords.

        Raises:
            SidiffError: the rows do not have d columns.
        """
        if x.shape[1] != self.dimensions:
            raise SidiffError(
                f"The quantizer expects {self.dimensions} dimensions and got "
                f"{x.shape[1]}; run kedro run "
                "--pipeline=tokenization again."
            )
        return self._encode(x)

    @abstractmethod
    def _encode(self, x: NDArray[np.float32]) -> NDArray[np.uint16]:
        """Return the codes (n, L) of rows with d columns."""

    @abstractmethod
    def reconstruct(self, codes: NDArray[np.integer]) -> NDArray[np.float32]:
        """Decode codes (n, L) to vectors, (n, d) float32."""

    def aligned(self, x: NDArray[np.float32]) -> NDArray[np.float64]:
        """Transform rows (n, d) to the space of the codebooks."""
        return x.astype(np.float64)

    @abstractmethod
    def digit_errors(self, aligned: NDArray[np.float64]) -> NDArray[np.float64]:
        """Compute the part of the squared error that depends on a single code.

        The squared error of codes c is the sum of the entries ``[i, j, c[j]]``, plus
        twice the dot products of all pairs of their ``overlapping`` codewords.

        Args:
            aligned: (n, d) float64, see ``aligned``.

        Returns:
            (n, L, K) float64.
        """

    @property
    def overlapping(self) -> NDArray[np.float64]:
        """Codewords (L, K, w) in a space that all digits share; w is 0 without one."""
        return np.zeros((self.digits, self.codebook_size, 0))

    def to_tensors(self) -> dict[str, NDArray[Any]]:
        """Return the arrays to store, by name; fields that are None are left out."""
        return {name: part for name, part in vars(self).items() if part is not None}


def nearest(
    x: NDArray[np.floating], centroids: NDArray[np.float32]
) -> NDArray[np.uint16]:
    """Find the nearest centroid (L2) of every row; ties go to the lowest index.

    It runs in float64 on one thread, so near ties do not depend on the number of cores.

    Args:
        x: (n, d).
        centroids: (K, d), K at most 65,536.
    """
    codes = np.empty(len(x), dtype=np.uint16)
    words = centroids.astype(np.float64)
    half_squares = np.einsum("kd,kd->k", words, words) / 2
    step = max(1, SCORES_AT_ONCE // len(words))
    with single_threaded_blas():
        for start in range(0, len(x), step):
            scores = x[start : start + step].astype(np.float64) @ words.T
            scores -= half_squares
            codes[start : start + step] = scores.argmax(axis=1)
    return codes
