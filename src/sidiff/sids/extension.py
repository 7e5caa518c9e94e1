"""The extension of a fitted table by new items, and what it must carry for that.

A table may be extended if nothing that shaped it has changed: the settings, the fitted
arrays, the embeddings of its items, and which of them were held out of training. Its
origin says all four, in columns beside the table's own.
"""

from __future__ import annotations

import hashlib
import logging

import numpy as np
import polars as pl
from numpy.typing import NDArray

from sidiff.errors import SidiffError
from sidiff.fingerprints import of_texts, of_values, short
from sidiff.sids.quantizers import Quantizer
from sidiff.sids.settings import TokenizationParameters
from sidiff.sids.table import SidTable
from sidiff.sids.whitening import Whitening

logger = logging.getLogger(__name__)

FREE_SETTINGS = {"device", "new_items"}
"""Settings that may change between a fit and its extension."""

COLUMNS = {"item_id", "generation", "embedding", "held_out", "settings", "fitted"}
"""Columns that a stored table must have to be extended."""


def origin(
    parameters: TokenizationParameters,
    whitening: Whitening | None,
    quantizer: Quantizer | None,
    item_ids: pl.Series,
    prints: pl.Series,
    held_out: NDArray[np.bool_],
) -> pl.DataFrame:
    """The origin of a table, or of one that would be made now.

    Args:
        parameters: the settings of the stage.
        whitening: as fitted or reused.
        quantizer: as fitted or reused.
        item_ids: (N,) the catalogue.
        prints: (N,) fingerprints of the embeddings.
        held_out: (N,) items kept out of training.

    Returns:
        item_id; embedding and held_out, as given; settings and fitted, in all rows the
        SHA-256 (hex) of the settings and of the arrays of whitening and quantizer.
    """
    digest = hashlib.sha256()
    for part in (whitening, quantizer):
        tensors = part.to_tensors()[0] if part else {}
        digest.update(f"{len(tensors)}\n".encode())
        for name, array in sorted(tensors.items()):
            digest.update(f"{name} {array.shape} {array.dtype}\n".encode())
            digest.update(np.ascontiguousarray(array).tobytes())
    settings = of_values(parameters.model_dump(exclude=FREE_SETTINGS))
    items = {"item_id": item_ids, "embedding": prints, "held_out": held_out}
    return pl.DataFrame(items).with_columns(
        settings=pl.lit(settings), fitted=pl.lit(digest.hexdigest())
    )


def table_to_extend(
    stored: pl.DataFrame, now: pl.DataFrame, parameters: TokenizationParameters
) -> str | None:
    """Decide whether new items join a stored table, and say so in the log.

    Args:
        stored: an earlier table with its origin.
        now: the origin with the settings, embeddings and held-out items of now, and
            with the stored whitening and quantizer.
        parameters: the settings of now.

    Returns:
        The table's fingerprint; None if whitening and quantizer are to be fitted.
    """
    if parameters.new_items == "refit" or parameters.quantizer == "table":
        return None
    if not _extensible(stored):
        return None
    reason = reason_to_refit(stored, now)
    if reason is None:
        logger.info(
            "Whitening, quantizer and %s semantic IDs are kept; %s new items join them",
            f"{len(stored):,}",
            f"{len(now) - len(stored):,}",
        )
        return SidTable.from_frame(stored).fingerprint
    if reason:
        logger.info("The stored SID table is not extended: %s", reason)
    return None


def reason_to_refit(stored: pl.DataFrame, now: pl.DataFrame) -> str | None:
    """Say why a stored table cannot be extended; arguments as of ``table_to_extend``.

    Returns:
        A clause for the log; empty where all is as it was and no item is new, so that
        a fit gives the same table; None where the table is to be extended.
    """
    both = stored.join(
        now, on="item_id", how="left", suffix="_now", maintain_order="left"
    )
    gone = both["embedding_now"].null_count()
    other = (both["embedding"] != both["embedding_now"]).sum()
    fitted = both.filter(pl.col("generation") == 0)
    moved = (fitted["held_out"] != fitted["held_out_now"]).sum()
    changes = {
        "the settings of tokenization changed": not _same("settings", stored, now),
        "the stored whitening and quantizer are not those of the stored table": (
            not _same("fitted", stored, now)
        ),
        f"{gone:,} of its items left the catalogue": gone,
        f"the text or the encoder of {other:,} of its items changed": other,
        f"{moved:,} of its items went out of training or came back to it": moved,
    }
    for clause, changed in changes.items():
        if changed:
            return clause
    grows = len(now) > len(both) or (stored["generation"] > 0).any()
    return None if grows else ""


def earlier_table(
    stored: pl.DataFrame | None, now: pl.DataFrame, extends: str | None
) -> SidTable | None:
    """The stored table that a new one extends; None where it extends none.

    Args:
        stored: an earlier table with its origin.
        now: the origin of the new one.
        extends: fingerprint of the table to extend, None for none.

    Raises:
        SidiffError: ``stored`` is not that table or grew from it, or the settings or
            fitted arrays are not those it was made with.
    """
    if extends is None:
        return None
    there = None
    if stored is not None and _extensible(stored):
        table = SidTable.from_frame(stored)
        there = table.fingerprint
        same = _same("settings", stored, now) and _same("fitted", stored, now)
        if same and extends in table.fingerprints():
            return table
    raise SidiffError(
        f"The stored quantizer is there to extend SID table {short(extends)}, and "
        f"what is stored is table {short(there)}, or one of other settings; run "
        "kedro run --pipeline=tokenization as a whole."
    )


def rows_in(item_ids: pl.Series, earlier: SidTable) -> NDArray[np.int64]:
    """The place in the catalogue of every item of ``earlier``.

    Raises:
        SidiffError: an item is not in the catalogue.
    """
    catalogue = pl.DataFrame({"item_id": item_ids}).with_row_index("row")
    rows = earlier.item_ids.to_frame().join(
        catalogue, on="item_id", how="left", maintain_order="left"
    )["row"]
    if rows.null_count():
        raise SidiffError(
            f"{rows.null_count():,} items of SID table {short(earlier.fingerprint)}, "
            f"which is to be extended, are not in catalogue "
            f"{short(of_texts(item_ids.to_list()))}; run kedro run "
            "--pipeline=tokenization as a whole."
        )
    return rows.to_numpy().astype(np.int64)


def _extensible(stored: pl.DataFrame) -> bool:
    return len(stored) > 0 and set(stored.columns) >= COLUMNS


def _same(column: str, stored: pl.DataFrame, now: pl.DataFrame) -> bool:
    return bool(stored[column][0] == now[column][0])
