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
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sidiff.sids.code_counts import choose_codes, enough_codes, random_codes
from sidiff.sids.collisions import repair
from sidiff.sids.extension import Origin, reason_to_refit, rows_in
from sidiff.sids.quantizers import (
    QUANTIZERS,
    Quantizer,
    fit_quantizer,
    read_quantizer,
    whitened,
)
from sidiff.sids.table import SidTable, load_table
from sidiff.sids.whitening import Whitening

if TYPE_CHECKING:
    from collections.abc import Mapping

    import polars as pl
    from numpy.typing import NDArray

    from sidiff.sids.settings import TokenizationParameters

logger = logging.getLogger(__name__)


def table_to_extend(
    stored: pl.DataFrame,
    whitening: Whitening | None,
    quantizer: Quantizer | None,
    item_ids: pl.Series,
    prints: pl.Series,
    held_out: NDArray[np.bool_],
    parameters: TokenizationParameters,
) -> str | None:
    """Decide whether new items join a stored table, and say so in the log.

    Args:
        stored: an earlier table, see ``Origin.attach``.
        whitening: stored with it.
        quantizer: stored with it.
        item_ids: (N,) the catalogue.
        prints: (N,) fingerprints of the embeddings.
        held_out: (N,) items kept out of training.
        parameters: the settings of now.

    Returns:
        The table's fingerprint; None if whitening and quantizer are to be fitted.
    """
    if parameters.new_items == "refit" or parameters.quantizer == "table":
        return None
    detached = Origin.detach(stored)
    if detached is None:
        return None
    table, origin = detached
    now = Origin.of(parameters, whitening, quantizer, item_ids, prints, held_out)
    reason = reason_to_refit(table, origin, now)
    if reason is None:
        logger.info(
            "Whitening, quantizer and %s semantic IDs are kept; %s new items join them",
            f"{len(table.codes):,}",
            f"{len(item_ids) - len(table.codes):,}",
        )
        return table.fingerprint
    if reason:
        logger.info("The stored SID table is not extended: %s", reason)
    return None


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
    vectors = None if quantizer is None else _whitened(embeddings, whitening)
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
        codes = repair(natural, size, settled, quantizer, vectors)
    else:
        codes = natural
        _warn_if_crowded(len(codes), codes.shape[1], size)
    return SidTable(codes, item_ids, size, generation)


def _natural(
    vectors: NDArray[np.float32] | None,
    trained: NDArray[np.bool_],
    item_ids: pl.Series,
    quantizer: Quantizer | None,
    parameters: TokenizationParameters,
    earlier: SidTable | None,
) -> tuple[NDArray[np.uint16], int]:
    """The codes (N, L) before collisions are dealt with, and K."""
    if quantizer is not None and vectors is not None:
        return quantizer.encode(vectors), quantizer.codebook_size
    digits = parameters.digits
    if parameters.table is not None and parameters.quantizer == "table":
        path = Path(parameters.table).expanduser()
        table = load_table(path, item_ids, digits, parameters.codes)
        return table.codes.copy(), table.codebook_size
    seed = parameters.seed
    if earlier is None:
        least = _least_codes(len(item_ids), parameters)
        size = choose_codes(parameters, int(trained.sum()), least)
    else:
        size = earlier.codebook_size
        seed += int(earlier.generation.max(initial=0)) + 1
    return random_codes(len(item_ids), digits, size, seed), size


def _least_codes(items: int, parameters: TokenizationParameters) -> int:
    """Codes that leave repair room to give every item an ID of its own."""
    if parameters.collisions != "repair":
        return 2
    return enough_codes(items, parameters.digits)


def _warn_if_crowded(items: int, digits: int, codebook_size: int) -> None:
    if codebook_size**digits < items:
        logger.warning(
            "Only %s semantic IDs are possible for %s items, so most items share "
            "theirs; more digits or codes would tell them apart",
            f"{codebook_size**digits:,}",
            f"{items:,}",
        )


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
    vectors = _whitened(embeddings, whitening)
    natural = quantizer.encode(vectors)
    codes = table.codes
    x = vectors.astype(np.float64)
    error = ((x - quantizer.reconstruct(codes)) ** 2).sum(axis=1).mean()
    spread = x.var(axis=0).sum()
    figures = {
        "quantization_error": float(error),
        "quantization_error_relative": float(error / spread) if spread else 0.0,
    }
    if parameters.collisions == "repair":
        before = ((x - quantizer.reconstruct(natural)) ** 2).sum(axis=1).mean()
        figures["moved_items"] = int((natural != codes).any(axis=1).sum())
        figures["quantization_error_added"] = (
            float(error / before - 1) if before else 0.0
        )
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
    names = {"digits", "codes", "max_codes", "seed", "threads"}
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
    return Whitening.from_tensors(tensors, metadata) if tensors else None


def unpack_quantizer(
    tensors: Mapping[str, NDArray[Any]], metadata: Mapping[str, Any]
) -> Quantizer | None:
    """Undo ``pack``."""
    return read_quantizer(tensors, metadata) if tensors else None


def _whitened(
    embeddings: NDArray[np.float32], whitening: Whitening | None
) -> NDArray[np.float32]:
    return embeddings if whitening is None else whitening.apply(embeddings)
