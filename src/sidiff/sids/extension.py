"""Extension of a stored SID table by new items, without fitting again.

A table may be extended if its settings, the embeddings of its items, and the choice of
held-out items are unchanged. The stored quantizer has the settings; the stored table
has the embeddings' fingerprints and the held-out items.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import polars as pl

from sidiff.errors import SidiffError
from sidiff.sids.settings import TokenizationParameters
from sidiff.sids.table import SidTable

logger = logging.getLogger(__name__)

FREE_SETTINGS = {"device", "new_items"}
"""Settings that may change between a fit and its extension."""


def fit_settings(parameters: TokenizationParameters) -> dict[str, Any]:
    """Return the settings that affect a fit, to be stored with the quantizer."""
    return parameters.model_dump(mode="json", exclude=FREE_SETTINGS)


def check_settings(
    fitted_with: Mapping[str, Any], parameters: TokenizationParameters
) -> None:
    """Check that a quantizer was fitted with the current settings.

    Args:
        fitted_with: the stored ``fit_settings``.
        parameters: the current settings.

    Raises:
        SidiffError: names the setting that differs.
    """
    if difference := _difference(fitted_with, parameters):
        raise SidiffError(
            f"The stored quantizer was fitted with {difference}; run kedro run "
            "--pipeline=tokenization again, or give the value it was fitted with."
        )


def table_to_extend(
    stored: pl.DataFrame,
    items: pl.DataFrame,
    fitted_with: Mapping[str, Any],
    parameters: TokenizationParameters,
) -> SidTable | None:
    """Decide whether new items join a stored table, and log the decision.

    Args:
        stored: an earlier table, with the columns of ``items``.
        items: item_id, embedding_sha256 and held_out of the current items.
        fitted_with: the ``fit_settings`` of the stored quantizer.
        parameters: the current settings.

    Returns:
        The stored table; None if whitening and quantizer must be fitted.
    """
    if parameters.new_items == "refit" or stored.is_empty():
        return None
    if reason := reason_to_refit(stored, items, fitted_with, parameters):
        logger.info("The stored SID table is not extended: %s", reason)
        return None
    new = len(items) - len(stored)
    if not new and stored["generation"].max() == 0:
        return None  # a fit gives the same table
    logger.info(
        "Whitening, quantizer and %s semantic IDs are kept; %s new items join them",
        f"{len(stored):,}",
        f"{new:,}",
    )
    return SidTable.from_frame(stored)


def reason_to_refit(
    stored: pl.DataFrame,
    items: pl.DataFrame,
    fitted_with: Mapping[str, Any],
    parameters: TokenizationParameters,
) -> str | None:
    """Find why a stored table cannot be extended; arguments as of ``table_to_extend``.

    Returns:
        A clause for the log; None if the table can be extended.
    """
    if difference := _difference(fitted_with, parameters):
        return f"it was fitted with {difference}"
    both = stored.join(items, on="item_id", how="left", suffix="_now")
    gone = both["embedding_sha256_now"].null_count()
    other = (both["embedding_sha256"] != both["embedding_sha256_now"]).sum()
    fitted = both.filter(pl.col("generation") == 0)
    moved = (fitted["held_out"] != fitted["held_out_now"]).sum()
    if gone:
        return f"{gone:,} of its items left the catalogue"
    if other:
        return f"the text or the encoder of {other:,} of its items changed"
    if moved:
        return f"{moved:,} of its items went out of training or came back to it"
    return None


def _difference(
    fitted_with: Mapping[str, Any], parameters: TokenizationParameters
) -> str | None:
    for name, now in fit_settings(parameters).items():
        if fitted_with.get(name) != now:
            return f"tokenization.{name} {fitted_with.get(name)}, which is now {now}"
    return None
