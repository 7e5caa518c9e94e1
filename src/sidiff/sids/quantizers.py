"""Quantizers: a vector to L codes, and back to an approximation.

Two families. *Product* (``opq``, ``pq``): rotate, subtract an offset, cut into L equal
pieces, and name the nearest of K codewords in each; the digits stand side by side.
*Residual* (``rq_kmeans``): every digit names the nearest codeword to what the digits
before it left over. (DiffGRM, arXiv 2510.21805, "parallel semantic encoding", and the
control it is compared with.)

A fitted quantizer is a few arrays; faiss trains it and is not needed afterwards.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np

from sidiff.errors import SidiffError
from sidiff.parameters import MAX_PRODUCT_CODES
from sidiff.sids.faiss_training import gpu_wanted, train_kmeans, train_product
from sidiff.sids.threads import faiss_threads, single_threaded_blas

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from sidiff.parameters import TokenizationParameters

logger = logging.getLogger(__name__)

Kind = Literal["opq", "pq", "rq_kmeans"]

POINTS_PER_CODE = 39
"""Training points that a k-means centroid needs (faiss's rule of thumb)."""

MAX_AUTO_CODES = 256
"""The papers' number of codes per digit."""

SCORES_AT_ONCE = 2**23
"""Point-centroid scores held in memory at a time (float64: 64 MiB)."""


@dataclass(frozen=True, eq=False)
class Quantizer:
    """A fitted quantizer of d dimensions into L digits of K codes.

    Attributes:
        kind: how ``codebooks`` are read, see the module.
        rotation: (d, d) float32, orthogonal, applied as ``rotation @ x``; None for
            no rotation.
        offset: (d,) float32, subtracted after the rotation; None for zero.
        codebooks: float32; product (L, K, d / L), residual (L, K, d).
    """

    kind: Kind
    rotation: NDArray[np.float32] | None
    offset: NDArray[np.float32] | None
    codebooks: NDArray[np.float32]

    @property
    def digits(self) -> int:
        """L, the number of codes of a semantic ID."""
        return len(self.codebooks)

    @property
    def codes_per_digit(self) -> int:
        """K, the number of codewords of a digit."""
        return int(self.codebooks.shape[1])

    @property
    def dimensions(self) -> int:
        """Number of dimensions d of a vector."""
        width = int(self.codebooks.shape[2])
        return width if self.kind == "rq_kmeans" else width * self.digits

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
                f"{x.shape[1]}; run tokenization again from fit_quantizer."
            )
        codes = np.empty((len(x), self.digits), dtype=np.uint16)
        if self.kind == "rq_kmeans":
            residual = x
            for digit, codebook in enumerate(self.codebooks):
                codes[:, digit] = nearest(residual, codebook)
                residual = residual - codebook[codes[:, digit]]
            return codes
        pieces = np.split(self.aligned(x), self.digits, axis=1)
        for digit, (piece, codebook) in enumerate(
            zip(pieces, self.codebooks, strict=True)
        ):
            codes[:, digit] = nearest(piece, codebook)
        return codes

    def digit_errors(self, aligned: NDArray[np.float64]) -> NDArray[np.float64]:
        """What each code alone adds to the squared error of each vector.

        For a product quantizer the squared error of codes c is the sum of the entries
        ``[i, j, c[j]]``. For a residual one it is that plus twice the dot products of
        all pairs of the codewords chosen.

        Args:
            aligned: (n, d) float64, see ``aligned``.

        Returns:
            (n, L, K) float64.
        """
        words = self.codebooks.astype(np.float64)
        squares = np.einsum("lkd,lkd->lk", words, words)
        if self.kind == "rq_kmeans":
            dots = np.einsum("nd,lkd->nlk", aligned, words, optimize=True)
            errors = squares - 2 * dots
            errors[:, 0] += np.einsum("nd,nd->n", aligned, aligned)[:, None]
            return errors
        pieces = aligned.reshape(len(aligned), self.digits, -1)
        dots = np.einsum("nld,lkd->nlk", pieces, words, optimize=True)
        lengths = np.einsum("nld,nld->nl", pieces, pieces)
        return np.asarray(lengths[:, :, None] - 2 * dots + squares)

    def reconstruct(self, codes: NDArray[np.integer]) -> NDArray[np.float32]:
        """The vectors that codes (n, L) stand for, (n, d) float32."""
        words = self.codebooks[np.arange(self.digits), codes]  # (n, L, width)
        if self.kind == "rq_kmeans":
            return words.sum(axis=1, dtype=np.float32)
        vectors = words.reshape(len(codes), -1)
        if self.offset is not None:
            vectors = vectors + self.offset
        if self.rotation is not None:
            with single_threaded_blas():
                vectors = vectors @ self.rotation
        return vectors

    def to_tensors(self) -> tuple[dict[str, NDArray[Any]], dict[str, str]]:
        """Arrays and metadata from which ``from_tensors`` rebuilds this object."""
        tensors: dict[str, NDArray[Any]] = {"codebooks": self.codebooks}
        if self.rotation is not None:
            tensors["rotation"] = self.rotation
        if self.offset is not None:
            tensors["offset"] = self.offset
        return tensors, {"kind": self.kind}

    @classmethod
    def from_tensors(
        cls, tensors: Mapping[str, NDArray[Any]], metadata: Mapping[str, str]
    ) -> Quantizer:
        """Rebuild what ``to_tensors`` took apart."""
        return cls(
            kind=cast("Kind", metadata["kind"]),
            rotation=tensors.get("rotation"),
            offset=tensors.get("offset"),
            codebooks=tensors["codebooks"],
        )

    def aligned(self, x: NDArray[np.float32]) -> NDArray[np.float64]:
        """Rows (n, d) rotated and shifted into the space of the codebooks."""
        aligned = x.astype(np.float64)
        if self.rotation is not None:
            with single_threaded_blas():
                aligned = aligned @ self.rotation.T.astype(np.float64)
        if self.offset is not None:
            aligned -= self.offset
        return aligned


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


def choose_codes(
    codes: Literal["auto"] | int, n_train: int, kind: str, least: int = 2
) -> int:
    """Settle the number of codes per digit, and say why in the log.

    Args:
        codes: an explicit number, or "auto" for the largest power of two that leaves
            39 training items per code, within ``least``..256.
        n_train: number of training items.
        kind: the quantizer; those that are trained need an item per code.
        least: "auto" chooses at least so many, see ``enough_codes``.

    Raises:
        SidiffError: more codes than training items.
    """
    if codes == "auto":
        most = max(2, min(MAX_AUTO_CODES, n_train // POINTS_PER_CODE))
        chosen = max(1 << (most.bit_length() - 1), least)
        if n_train >= chosen * POINTS_PER_CODE:
            why = f"at least {POINTS_PER_CODE} per code, at most {MAX_AUTO_CODES} codes"
        else:
            why = "as few as tell all items apart, though k-means likes more per code"
        logger.info(
            "Codes per digit: %d, chosen for %s training items (%s)",
            chosen,
            f"{n_train:,}",
            why,
        )
        codes = chosen
    elif kind != "random" and n_train < codes * POINTS_PER_CODE:
        logger.info(
            "Codes per digit: %d, as set; %s training items are fewer than the %d per "
            "code that k-means likes",
            codes,
            f"{n_train:,}",
            POINTS_PER_CODE,
        )
    if kind != "random" and codes > n_train:
        raise SidiffError(
            f"{codes} codes per digit need at least as many training items, and there "
            f"are {n_train}; lower tokenization.codes."
        )
    return codes


def enough_codes(items: int, digits: int) -> int:
    """Fewest codes, a power of two, with twice as many semantic IDs as items."""
    codes = 2
    while codes**digits < 2 * items:
        codes *= 2
    return codes


def fit_quantizer(
    x_train: NDArray[np.float32], parameters: TokenizationParameters, codes: int
) -> Quantizer:
    """Train a quantizer; the same input, seed and thread count give the same one.

    Args:
        x_train: (n, d) float32, the training items: whitened for ``opq`` and ``pq``,
            plain embeddings for ``rq_kmeans``.
        parameters: kind, digits, seed, threads and device are used.
        codes: K, see ``choose_codes``.

    Raises:
        SidiffError: the kind is not a trained one, K is too large for it, or no GPU
            where one is demanded.
    """
    kind = parameters.quantizer
    if kind not in ("opq", "pq", "rq_kmeans"):
        raise SidiffError(
            f"The quantizer {kind!r} has nothing to train; use opq, pq or rq_kmeans."
        )
    use_gpu = gpu_wanted(parameters.device)
    with faiss_threads(parameters.threads):
        if kind == "rq_kmeans":
            return _fit_residual(x_train, parameters, codes, use_gpu=use_gpu)
        if codes > MAX_PRODUCT_CODES:
            raise SidiffError(
                f"{kind} has at most {MAX_PRODUCT_CODES} codes per digit; lower "
                f"tokenization.codes ({codes}) or use rq_kmeans."
            )
        fitted = train_product(
            x_train,
            parameters.digits,
            codes,
            rotate=kind == "opq",
            seed=parameters.seed,
            use_gpu=use_gpu,
        )
    return Quantizer(kind, *fitted)


def random_codes(n: int, digits: int, codes: int, seed: int) -> NDArray[np.uint16]:
    """Uniform codes (n, L): the control in which a SID says nothing of its item."""
    generator = np.random.default_rng(seed)
    return generator.integers(codes, size=(n, digits), dtype=np.uint16)


def _fit_residual(
    x_train: NDArray[np.float32],
    parameters: TokenizationParameters,
    codes: int,
    *,
    use_gpu: bool,
) -> Quantizer:
    residual, codebooks = x_train, []
    for digit in range(parameters.digits):
        codebook = train_kmeans(
            residual, codes, seed=parameters.seed + digit, use_gpu=use_gpu
        )
        codebooks.append(codebook)
        residual = residual - codebook[nearest(residual, codebook)]
    return Quantizer("rq_kmeans", None, None, np.stack(codebooks))
