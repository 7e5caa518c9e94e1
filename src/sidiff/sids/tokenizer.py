"""The steps from embeddings to semantic IDs, for every kind of quantizer.

``opq`` and ``pq`` quantize whitened embeddings, ``rq_kmeans`` plain ones (as DiffGRM's
released code does); ``random`` and ``table`` need neither. A step without work gives
None, which ``pack`` can store, so that a caller treats all kinds alike.

Throughout, ``embeddings`` is (N, D) float32 with rows in catalogue order, and
``trained`` is (N,) bool: whether an item occurs in the training samples. Only those
items shape a whitening or a quantizer.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sidiff.errors import SidiffError
from sidiff.sids.quantizers import (
    Quantizer,
    choose_codes,
    fit_quantizer,
    random_codes,
)
from sidiff.sids.table import SidTable, load_table
from sidiff.sids.whitening import Whitening

if TYPE_CHECKING:
    from collections.abc import Mapping

    import polars as pl
    from numpy.typing import NDArray

    from sidiff.parameters import TokenizationParameters

logger = logging.getLogger(__name__)

WHITENED = ("opq", "pq")
"""Kinds that quantize whitened embeddings."""

FITTED = (*WHITENED, "rq_kmeans")
"""Kinds that are trained at all."""


def learn_whitening(
    embeddings: NDArray[np.float32],
    trained: NDArray[np.bool_],
    parameters: TokenizationParameters,
) -> Whitening | None:
    """Fit the whitening; None where the kind uses none.

    Raises:
        SidiffError: too few training items for the dimensions asked for.
    """
    if parameters.quantizer not in WHITENED:
        return None
    settings = parameters.whitening
    return Whitening.fit(embeddings[trained], settings.dimensions, settings.normalize)


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
    if parameters.quantizer not in FITTED:
        return None
    x_train = _whitened(embeddings[trained], whitening)
    codes = choose_codes(parameters.codes, len(x_train), parameters.quantizer)
    return fit_quantizer(x_train, parameters, codes)


def assign_sids(
    embeddings: NDArray[np.float32],
    trained: NDArray[np.bool_],
    item_ids: pl.Series,
    whitening: Whitening | None,
    quantizer: Quantizer | None,
    parameters: TokenizationParameters,
) -> SidTable:
    """Give every item of the catalogue its semantic ID.

    Raises:
        SidiffError: the table to read is missing or wrong, or the embeddings do not
            fit the quantizer.
    """
    if quantizer is not None:
        codes = quantizer.encode(_whitened(embeddings, whitening))
        _warn_if_crowded(len(item_ids), codes.shape[1], quantizer.codes_per_digit)
        return SidTable(codes, item_ids, quantizer.codes_per_digit)
    digits = parameters.digits
    if parameters.table is not None and parameters.quantizer == "table":
        path = Path(parameters.table).expanduser()
        return load_table(path, item_ids, digits, parameters.codes)
    size = choose_codes(parameters.codes, int(trained.sum()), parameters.quantizer)
    drawn = random_codes(len(item_ids), digits, size, parameters.seed)
    return SidTable(drawn, item_ids, size)


def _warn_if_crowded(items: int, digits: int, codes_per_digit: int) -> None:
    if codes_per_digit**digits < items:
        logger.warning(
            "Only %s semantic IDs are possible for %s items, so most items share "
            "theirs; more digits or codes would tell them apart",
            f"{codes_per_digit**digits:,}",
            f"{items:,}",
        )


def quantization_error(
    table: SidTable,
    embeddings: NDArray[np.float32],
    whitening: Whitening | None,
    quantizer: Quantizer | None,
) -> dict[str, float]:
    """How far the codes are from what they stand for, over all items.

    Returns:
        ``quantization_error``, the mean squared distance between a quantized vector
        and its reconstruction, and ``quantization_error_relative``, the same over the
        mean squared distance to the mean vector (1: the codes say nothing). Nothing
        where there is no quantizer.

    Raises:
        SidiffError: the table is not what whitening and quantizer make of the
            embeddings, which is so when a stage was run again in part.
    """
    if quantizer is None:
        return {}
    whitened = _whitened(embeddings, whitening)
    if not np.array_equal(quantizer.encode(whitened), table.codes):
        raise SidiffError(
            "The stored sid_table was not made with the stored whitening and "
            "quantizer; run kedro run --pipeline=tokenization again."
        )
    x = whitened.astype(np.float64)
    error = ((x - quantizer.reconstruct(table.codes)) ** 2).sum(axis=1).mean()
    spread = x.var(axis=0).sum()
    return {
        "quantization_error": float(error),
        "quantization_error_relative": float(error / spread) if spread else 0.0,
    }


def pack(
    part: Whitening | Quantizer | None,
) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """Arrays and metadata to store; both empty for None."""
    return part.to_tensors() if part is not None else ({}, {})


def unpack_whitening(
    tensors: Mapping[str, NDArray[Any]], metadata: Mapping[str, Any]
) -> Whitening | None:
    """Undo ``pack``."""
    return Whitening.from_tensors(tensors, metadata) if tensors else None


def unpack_quantizer(
    tensors: Mapping[str, NDArray[Any]], metadata: Mapping[str, Any]
) -> Quantizer | None:
    """Undo ``pack``."""
    return Quantizer.from_tensors(tensors, metadata) if tensors else None


def _whitened(
    embeddings: NDArray[np.float32], whitening: Whitening | None
) -> NDArray[np.float32]:
    return embeddings if whitening is None else whitening.apply(embeddings)
