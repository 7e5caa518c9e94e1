"""Tokenization: embeddings to semantic IDs, with any quantizer.

``opq`` quantizes whitened embeddings, ``rq_kmeans`` plain ones (as DiffGRM's released
code does).

``embeddings`` is (N, D) float32 with rows in catalogue order, and ``trained`` is (N,)
bool: the items in the training samples. Whitening and quantizer are fitted on these.
"""

from __future__ import annotations

import logging

import numpy as np
import polars as pl
from numpy.typing import NDArray

from sidiff.errors import SidiffError
from sidiff.sids.collisions import repair
from sidiff.sids.quantizers import QUANTIZERS, Quantizer, fit_quantizer
from sidiff.sids.settings import TokenizationParameters
from sidiff.sids.table import SidTable
from sidiff.sids.whitening import Whitening

logger = logging.getLogger(__name__)

POINTS_PER_CODE = 39
"""Training points that a k-means centroid needs (faiss's rule of thumb)."""


def fit(
    embeddings: NDArray[np.float32],
    trained: NDArray[np.bool_],
    parameters: TokenizationParameters,
) -> tuple[Whitening | None, Quantizer]:
    """Fit the whitening, if the quantizer uses one, and the quantizer.

    Raises:
        SidiffError: there are too few training items for the dimensions or the codes,
            or the device is "cuda" and faiss sees no GPU.
    """
    x_train, whitening = embeddings[trained], None
    if QUANTIZERS[parameters.quantizer].whitened:
        whitening = Whitening.fit(x_train, parameters.whitening.dimensions)
        x_train = whitening.apply(x_train)
    least = _least_codes(len(embeddings), parameters)
    codes = choose_codes(parameters, len(x_train), least)
    return whitening, fit_quantizer(x_train, parameters, codes)


def choose_codes(
    parameters: TokenizationParameters, n_train: int, least: int = 2
) -> int:
    """Choose the number of codes per digit, and log the reason.

    ``auto`` is ``max_codebook_size`` if there are 39 training items per code, otherwise
    the largest power of two with 39 items per code, at least 2.

    Args:
        parameters: ``codebook_size`` and ``max_codebook_size`` are used.
        n_train: number of training items.
        least: lower bound of ``auto``.

    Raises:
        SidiffError: there are more codes than training items.
    """
    most = parameters.max_codebook_size
    if parameters.codebook_size != "auto":
        codes = parameters.codebook_size
        if codes <= n_train < codes * POINTS_PER_CODE:
            logger.info(
                "Codes per digit: %d, as set; %s training items are fewer than the %d "
                "per code that k-means needs",
                codes,
                f"{n_train:,}",
                POINTS_PER_CODE,
            )
    else:
        codes = min(most, max(2, n_train // POINTS_PER_CODE))
        if codes < most:
            codes = 1 << (codes.bit_length() - 1)
        codes = max(codes, least)
        why = f"at least {POINTS_PER_CODE} per code, at most {most} codes"
        if n_train < codes * POINTS_PER_CODE:
            why = "the fewest for distinct SIDs; k-means needs more items per code"
        logger.info(
            "Codes per digit: %d, chosen for %s training items (%s)",
            codes,
            f"{n_train:,}",
            why,
        )
    if codes > n_train:
        raise SidiffError(
            f"{codes} codes per digit need at least as many training items, and there "
            f"are {n_train}; lower tokenization.codebook_size."
        )
    return codes


def _least_codes(items: int, parameters: TokenizationParameters) -> int:
    """Find the power of two of codes with which ``repair`` has two SIDs per item."""
    codes = 2
    while parameters.collisions == "repair" and codes**parameters.digits < 2 * items:
        codes *= 2
    return codes


def assign_sids(
    embeddings: NDArray[np.float32],
    item_ids: pl.Series,
    whitening: Whitening | None,
    quantizer: Quantizer,
    parameters: TokenizationParameters,
    earlier: SidTable | None,
) -> SidTable:
    """Give every item of the catalogue its semantic ID.

    Args:
        embeddings: see the module.
        item_ids: (N,) the catalogue.
        whitening: a fitted whitening; None if the quantizer uses none.
        quantizer: a fitted quantizer.
        parameters: ``collisions`` is used.
        earlier: a table to extend, made with the same whitening, quantizer and
            parameters. Its items keep their SIDs; the others are a new generation.

    Raises:
        SidiffError: the embeddings have the wrong dimensions, or ``collisions`` is
            ``repair`` and there are more items than SIDs.
    """
    vectors = _whitened(embeddings, whitening)
    codes, size = quantizer.encode(vectors), quantizer.codebook_size
    settled = np.zeros(len(item_ids), dtype=bool)
    generation = np.zeros(len(item_ids), dtype=np.int32)
    if earlier is not None:
        places = pl.DataFrame({"item_id": item_ids}).with_row_index("row")
        found = earlier.item_ids.to_frame().join(
            places, on="item_id", how="left", maintain_order="left"
        )
        rows = found["row"].to_numpy()
        settled[rows] = True
        codes[rows] = earlier.codes
        generation[:] = earlier.generation.max(initial=0) + 1
        generation[rows] = earlier.generation
    if parameters.collisions == "repair":
        codes = repair(codes, settled, quantizer, vectors)
    elif size**quantizer.digits < len(codes):
        logger.warning(
            "Only %s semantic IDs are possible for %s items, so most items share "
            "theirs; more digits or codes would tell them apart",
            f"{size**quantizer.digits:,}",
            f"{len(codes):,}",
        )
    return SidTable(codes, item_ids, size, generation)


def quantization_error(
    table: SidTable,
    embeddings: NDArray[np.float32],
    whitening: Whitening | None,
    quantizer: Quantizer,
    parameters: TokenizationParameters,
) -> dict[str, float]:
    """Compute the quantization error: the distance of vectors from their codewords.

    Returns:
        ``quantization_error``, the mean squared distance between a quantized vector
        and its reconstruction, and ``quantization_error_relative``, the same over the
        mean squared distance to the mean vector (1: the codes carry no information).
        With ``repair`` also ``moved_items``, the number of items with another SID than
        the quantizer's, and ``quantization_error_added``, the relative increase of the
        error by moving them.
    """
    vectors, codes = _whitened(embeddings, whitening), table.codes
    x = vectors.astype(np.float64)
    error = ((x - quantizer.reconstruct(codes)) ** 2).sum(axis=1).mean()
    spread = x.var(axis=0).sum()
    figures = {
        "quantization_error": float(error),
        "quantization_error_relative": float(error / spread) if spread else 0.0,
    }
    if parameters.collisions == "repair":
        natural = quantizer.encode(vectors)
        before = ((x - quantizer.reconstruct(natural)) ** 2).sum(axis=1).mean()
        figures["moved_items"] = int((natural != codes).any(axis=1).sum())
        added = float(error / before - 1) if before else 0.0
        figures["quantization_error_added"] = added
    return figures


def _whitened(
    embeddings: NDArray[np.float32], whitening: Whitening | None
) -> NDArray[np.float32]:
    return embeddings if whitening is None else whitening.apply(embeddings)
