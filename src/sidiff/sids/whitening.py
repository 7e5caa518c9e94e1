"""Whitening: PCA to fewer, uncorrelated dimensions of unit variance, then unit length.

Same function as ``sklearn.decomposition.PCA(n_components=P, whiten=True)``, which
DiffGRM's released code fits on the items of the training rows only. Written with a
float64 covariance in chunks, on one thread, because the codes are sensitive to the last
bit, and the catalogue need not fit in memory twice.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sidiff.errors import SidiffError
from sidiff.sids.threads import single_threaded_blas

CHUNK = 16_384
"""Rows worked on at a time."""


@dataclass(frozen=True, eq=False)
class Whitening:
    """A fitted whitening of D-dimensional rows to P dimensions.

    Attributes:
        mean: (D,) float32, mean of the training rows.
        components: (P, D) float32, orthonormal principal axes, widest first; of each,
            the entry of largest magnitude is positive.
        scale: (P,) float32, standard deviation of the training rows along each axis.
    """

    mean: NDArray[np.float32]
    components: NDArray[np.float32]
    scale: NDArray[np.float32]

    @property
    def dimensions(self) -> int:
        """P, the number of dimensions of a whitened row."""
        return len(self.components)

    @classmethod
    def fit(cls, embeddings: NDArray[np.float32], dimensions: int) -> Whitening:
        """Fit the axes.

        Args:
            embeddings: (n, D) float32, the training items only.
            dimensions: P, the number of axes to keep.

        Raises:
            SidiffError: there are too few training items or dimensions for P axes.
        """
        n, width = embeddings.shape
        if dimensions > width:
            raise SidiffError(
                f"The embeddings have {width} dimensions; lower "
                f"tokenization.whitening.dimensions ({dimensions}) to at most that."
            )
        if n <= dimensions:
            raise SidiffError(
                f"{n} training items are too few for {dimensions} whitened dimensions; "
                f"lower tokenization.whitening.dimensions to less than {n}."
            )
        with single_threaded_blas():
            mean = embeddings.mean(axis=0, dtype=np.float64)
            covariance = np.zeros((width, width))
            for rows in _chunks(embeddings):
                centred = rows.astype(np.float64) - mean
                covariance += centred.T @ centred
            variances, axes = np.linalg.eigh(covariance / (n - 1))
        variances = variances[::-1][:dimensions]
        components = axes.T[::-1][:dimensions]
        epsilon = np.finfo(np.float32).eps
        rank = int((variances > epsilon * variances[0]).sum())
        if rank < dimensions:
            # Equal rows differ from their mean by rounding only.
            if variances[0] <= epsilon**2 * float(mean @ mean):
                raise SidiffError(
                    f"The embeddings of all {n:,} training items are the same, as are "
                    "their texts to the encoder: name fields that tell the items apart "
                    "under embedding.text, or set embedding.encoder to a model of "
                    "their language."
                )
            raise SidiffError(
                f"The training items' embeddings span only {rank} dimensions; lower "
                f"tokenization.whitening.dimensions ({dimensions}) to at most that."
            )
        largest = np.abs(components).argmax(axis=1)[:, None]
        components = components * np.sign(
            np.take_along_axis(components, largest, axis=1)
        )
        return cls(
            mean=mean.astype(np.float32),
            components=np.ascontiguousarray(components, dtype=np.float32),
            scale=np.sqrt(variances).astype(np.float32),
        )

    def apply(self, embeddings: NDArray[np.float32]) -> NDArray[np.float32]:
        """Whiten rows.

        Args:
            embeddings: (n, D) float32.

        Returns:
            (n, P) float32 of unit length; a row equal to the mean stays zero.

        Raises:
            SidiffError: the rows do not have D columns.
        """
        if embeddings.shape[1:] != self.mean.shape:
            raise SidiffError(
                f"The whitening expects {len(self.mean)} dimensions and got "
                f"{embeddings.shape[1]}; run kedro run "
                "--pipeline=tokenization again."
            )
        whitened = np.empty((len(embeddings), self.dimensions), dtype=np.float32)
        projection = (self.components / self.scale[:, None].astype(np.float64)).T
        with single_threaded_blas():
            for chunk, rows in enumerate(_chunks(embeddings)):
                projected = (rows.astype(np.float64) - self.mean) @ projection
                lengths = np.linalg.norm(projected, axis=1, keepdims=True)
                projected /= np.maximum(lengths, 1e-12)
                whitened[chunk * CHUNK :][: len(rows)] = projected
        return whitened

    def to_tensors(self) -> dict[str, NDArray[Any]]:
        """Return the arrays to store, by the names of the attributes."""
        return dict(vars(self))


def _chunks(rows: NDArray[np.float32]) -> Iterator[NDArray[np.float32]]:
    for start in range(0, len(rows), CHUNK):
        yield rows[start : start + CHUNK]
