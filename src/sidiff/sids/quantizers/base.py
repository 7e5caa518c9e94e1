"""The quantizer of vectors into codes, and the nearest codeword of a digit."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from sidiff.errors import SidiffError
from sidiff.sids.threads import single_threaded_blas

SCORES_AT_ONCE = 2**23
"""Point-centroid scores held in memory at a time (float64: 64 MiB)."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Quantizer(ABC):
    """A fitted quantizer of d dimensions into L digits of K codes.

    A field that is None is not stored.

    Attributes:
        kind: the name in the configuration and in the stored metadata.
        whitened: the vectors to quantize are whitened embeddings, or else plain ones.
        cuts: each digit has an equal part of a vector's dimensions.
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
    @abstractmethod
    def dimensions(self) -> int:
        """Number of dimensions d of a vector."""

    def encode(self, x: NDArray[np.float32]) -> NDArray[np.uint16]:
        """Name the nearest codewords.

        Args:
            x: (n, d) float32.

        Returns:
            (n, L) uint16; of equally near codewords the lowest code.

        Raises:
            SidiffError: the rows have not d columns.
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
        """Codes (n, L) of rows with d columns."""

    @abstractmethod
    def reconstruct(self, codes: NDArray[np.integer]) -> NDArray[np.float32]:
        """The vectors that codes (n, L) stand for, (n, d) float32."""

    def aligned(self, x: NDArray[np.float32]) -> NDArray[np.float64]:
        """Rows (n, d) in the space of the codebooks."""
        return x.astype(np.float64)

    @abstractmethod
    def digit_errors(self, aligned: NDArray[np.float64]) -> NDArray[np.float64]:
        """Share of each code alone in the squared error of each vector.

        The squared error of codes c is the sum of the entries ``[i, j, c[j]]``, plus
        twice the dot products of all pairs of the ``overlapping`` codewords chosen.

        Args:
            aligned: (n, d) float64, see ``aligned``.

        Returns:
            (n, L, K) float64.
        """

    @property
    def overlapping(self) -> NDArray[np.float64]:
        """Codewords (L, K, w) that lie in one space; w is 0 where digits share none."""
        return np.zeros((self.digits, self.codebook_size, 0))

    def to_tensors(self) -> dict[str, NDArray[Any]]:
        """Arrays by the names of the fields, to be stored."""
        return {name: part for name, part in vars(self).items() if part is not None}


def nearest(
    x: NDArray[np.floating], centroids: NDArray[np.float32]
) -> NDArray[np.uint16]:
    """Index of the nearest centroid (L2) of every row; the lowest when equally near.

    In float64 on one thread: a near tie must not depend on the machine's cores.

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
