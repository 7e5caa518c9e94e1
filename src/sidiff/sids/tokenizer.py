"""The steps from embeddings to semantic IDs, for every kind of quantizer.

``opq`` quantizes whitened embeddings, ``rq_kmeans`` plain ones (as DiffGRM's released
code does), and ``random`` and ``table`` nothing. A step without work gives
None, which ``pack`` can store, so that a caller treats all kinds alike.

Throughout, ``embeddings`` is (N, D) float32 with rows in catalogue order, and
``trained`` is (N,) bool: whether an item occurs in the training samples. Only those
items shape a whitening or a quantizer.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from sidiff.errors import SidiffError
from sidiff.sids.collisions import repair
from sidiff.sids.extension import rows_in
from sidiff.sids.quantizers import QUANTIZERS, Quantizer, fit_quantizer, whitened
from sidiff.sids.settings import TokenizationParameters
from sidiff.sids.table import SidTable, load_table
from sidiff.sids.whitening import Whitening

logger = logging.getLogger(__name__)

POINTS_PER_CODE = 39
"""Training points that a k-means centroid needs (faiss's rule of thumb)."""


def learn_whitening(
    embeddings: NDArray[np.float32],
    trained: NDArray[np.bool_],
    parameters: TokenizationParameters,
) -> Whitening | None:
    """Fit the whitening; None where the kind uses none.

    Raises:
        SidiffError: too few training items for the dimensions asked for.
    """
    if not whitened(parameters.quantizer):
        return None
    return Whitening.fit(embeddings[trained], parameters.whitening.dimensions)


def learn_quantizer(
    embeddings: NDArray[np.float32],
    trained: NDArray[np.bool_],
    whitening: Whitening | None,
    parameters: TokenizationParameters,
) -> Quantizer | None:
    """Settle the number of codes and train; None where nothing is trained.

    Raises:
        SidiffError: too few training items for the codes asked for, or no GPU where
            one is demanded.
    """
    if parameters.quantizer not in QUANTIZERS:
        return None
    x_train = _whitened(embeddings[trained], whitening)
    least = _least_codes(len(embeddings), parameters)
    codes = choose_codes(parameters, len(x_train), least)
    return fit_quantizer(x_train, parameters, codes)


def choose_codes(
    parameters: TokenizationParameters, n_train: int, least: int = 2
) -> int:
    """Settle the number of codes per digit, and say why in the log.

    ``codebook_size`` is taken as it is. ``auto`` is ``max_codebook_size`` where there
    are 39 training items for each of so many codes, and else the largest power of two
    that there are 39 items a code for, or 2.

    Args:
        parameters: quantizer, codebook_size and max_codebook_size are used.
        n_train: number of training items; quantizers that are trained need one a code.
        least: ``auto`` chooses at least so many.

    Raises:
        SidiffError: more codes than training items.
    """
    most, trained = parameters.max_codebook_size, parameters.quantizer != "random"
    if parameters.codebook_size != "auto":
        codes = parameters.codebook_size
        if trained and codes <= n_train < codes * POINTS_PER_CODE:
            logger.info(
                "Codes per digit: %d, as set; %s training items are fewer than the %d "
                "per code that k-means likes",
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
            why = "as few as tell all items apart, though k-means likes more per code"
        logger.info(
            "Codes per digit: %d, chosen for %s training items (%s)",
            codes,
            f"{n_train:,}",
            why,
        )
    if trained and codes > n_train:
        raise SidiffError(
            f"{codes} codes per digit need at least as many training items, and there "
            f"are {n_train}; lower tokenization.codebook_size."
        )
    return codes


def random_codes(n: int, digits: int, codes: int, seed: int) -> NDArray[np.uint16]:
    """Uniform codes (n, L): the control in which a SID says nothing of its item."""
    generator = np.random.default_rng(seed)
    return generator.integers(codes, size=(n, digits), dtype=np.uint16)


def _least_codes(items: int, parameters: TokenizationParameters) -> int:
    """Codes, a power of two, that leave ``repair`` twice as many SIDs as items."""
    codes = 2
    while parameters.collisions == "repair" and codes**parameters.digits < 2 * items:
        codes *= 2
    return codes


def assign_sids(
    embeddings: NDArray[np.float32],
    trained: NDArray[np.bool_],
    item_ids: pl.Series,
    whitening: Whitening | None,
    quantizer: Quantizer | None,
    parameters: TokenizationParameters,
    earlier: SidTable | None,
) -> SidTable:
    """Give every item of the catalogue its semantic ID.

    Args:
        embeddings: see the module.
        trained: see the module.
        item_ids: (N,) the catalogue.
        whitening: as fitted, None where the kind uses none.
        quantizer: as fitted, None where nothing is trained.
        parameters: kind, digits, codes, seed, table and collisions are used.
        earlier: a table to extend, made with the same whitening, quantizer and
            parameters: its items keep their SIDs, the others are one generation more.

    Raises:
        SidiffError: the table to read is missing or wrong, the embeddings do not fit
            the quantizer, an item of ``earlier`` is gone, or the SIDs are too few to
            tell all items apart as ``collisions`` demands.
    """
    vectors = _whitened(embeddings, whitening)
    natural, size = _natural(vectors, trained, item_ids, quantizer, parameters, earlier)
    settled = np.zeros(len(item_ids), dtype=bool)
    generation = np.zeros(len(item_ids), dtype=np.int32)
    if earlier is not None:
        rows = rows_in(item_ids, earlier)
        settled[rows] = True
        natural[rows] = earlier.codes
        generation[:] = earlier.generation.max(initial=0) + 1
        generation[rows] = earlier.generation
    if parameters.collisions == "repair":
        natural = repair(natural, size, settled, quantizer, vectors)
    elif size ** natural.shape[1] < len(natural):
        logger.warning(
            "Only %s semantic IDs are possible for %s items, so most items share "
            "theirs; more digits or codes would tell them apart",
            f"{size ** natural.shape[1]:,}",
            f"{len(natural):,}",
        )
    return SidTable(natural, item_ids, size, generation)


def _natural(
    vectors: NDArray[np.float32],
    trained: NDArray[np.bool_],
    item_ids: pl.Series,
    quantizer: Quantizer | None,
    parameters: TokenizationParameters,
    earlier: SidTable | None,
) -> tuple[NDArray[np.uint16], int]:
    """The codes (N, L) before collisions are dealt with, and K."""
    if quantizer is not None:
        return quantizer.encode(vectors), quantizer.codebook_size
    digits, seed = parameters.digits, parameters.seed
    if parameters.table is not None and parameters.quantizer == "table":
        path = Path(parameters.table).expanduser()
        table = load_table(path, item_ids, digits, parameters.codebook_size)
        return table.codes.copy(), table.codebook_size
    if earlier is None:
        least = _least_codes(len(item_ids), parameters)
        size = choose_codes(parameters, int(trained.sum()), least)
    else:
        size = earlier.codebook_size
        seed += int(earlier.generation.max(initial=0)) + 1
    return random_codes(len(item_ids), digits, size, seed), size


def quantization_error(
    table: SidTable,
    embeddings: NDArray[np.float32],
    whitening: Whitening | None,
    quantizer: Quantizer | None,
    parameters: TokenizationParameters,
) -> dict[str, float]:
    """The quantization error: distance of the items from what their codes stand for.

    Returns:
        ``quantization_error``, the mean squared distance between a quantized vector
        and its reconstruction, and ``quantization_error_relative``, the same over the
        mean squared distance to the mean vector (1: the codes say nothing). After
        ``repair`` also ``moved_items``, whose SID is not the one that the quantizer
        gave, and ``quantization_error_added``, the share by which moving them raised
        the error. Nothing where there is no quantizer.
    """
    if quantizer is None:
        return {}
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


def whitening_settings(parameters: TokenizationParameters) -> dict[str, Any]:
    """The settings that a whitening is fitted with, by name."""
    if not whitened(parameters.quantizer):
        return {"quantizer": parameters.quantizer}
    names = {"quantizer", "whitening"}
    return parameters.model_dump(mode="json", include=names)


def quantizer_settings(parameters: TokenizationParameters) -> dict[str, Any]:
    """The settings that a quantizer is fitted with, by name."""
    if parameters.quantizer not in QUANTIZERS:
        return {"quantizer": parameters.quantizer}
    names = {"digits", "codebook_size", "max_codebook_size", "seed", "threads"}
    return whitening_settings(parameters) | parameters.model_dump(include=names)


def pack(
    part: Whitening | Quantizer | None,
) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """Arrays and metadata to store; both empty for None."""
    return part.to_tensors() if part is not None else ({}, {})


def unpack_whitening(
    tensors: Mapping[str, NDArray[Any]], metadata: Mapping[str, Any]
) -> Whitening | None:
    """Undo ``pack``."""
    del metadata
    return Whitening(**tensors) if tensors else None


def unpack_quantizer(
    tensors: Mapping[str, NDArray[Any]], metadata: Mapping[str, Any]
) -> Quantizer | None:
    """Undo ``pack``."""
    return QUANTIZERS[metadata["kind"]](**tensors) if tensors else None


def _whitened(
    embeddings: NDArray[np.float32], whitening: Whitening | None
) -> NDArray[np.float32]:
    return embeddings if whitening is None else whitening.apply(embeddings)
