"""Filters of the items that may be recommended, from files of item ids."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from sidiff.errors import SidiffError

logger = logging.getLogger(__name__)


def allowed_items(
    item_ids: pl.Series, allow: str | None, deny: str | None, group: str
) -> NDArray[np.bool_] | None:
    """Mark the items that may be recommended.

    Args:
        item_ids: the catalogue ``(N,)``.
        allow: text file of the only items that may, one id per line; None for all.
        deny: text file of items that may not; it wins where both name an item.
        group: parameter group of ``allow_items`` and ``deny_items``, for messages.

    Returns:
        ``(N,)``; None without files.

    Raises:
        SidiffError: a file is missing or not text, or nothing is left.
    """
    if allow is None and deny is None:
        return None
    marked = np.ones(len(item_ids), dtype=bool)
    if allow is not None:
        marked = _listed(item_ids, allow, f"{group}.allow_items")
    if deny is not None:
        marked &= ~_listed(item_ids, deny, f"{group}.deny_items")
    if not marked.any():
        raise SidiffError(
            f"{group}.allow_items and {group}.deny_items leave no item of the "
            "catalogue; correct the lists."
        )
    return marked


def read_ids(path: str, name: str) -> pl.Series:
    """Item ids of a text file, one per line; ``name`` is the parameter with its path.

    Raises:
        SidiffError: the file is missing or not text.
    """
    try:
        # utf-8-sig: some editors begin UTF-8 text with a byte order mark.
        lines = Path(path).expanduser().read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise SidiffError(
            f"{name} names {path}, which cannot be read ({reason}); give a "
            "text file with one item id per line, or null."
        ) from error
    ids = [line.strip() for line in lines if line.strip()]
    return pl.Series(ids, dtype=pl.String)


def _listed(item_ids: pl.Series, path: str, name: str) -> NDArray[np.bool_]:
    """Mark the items that a file names."""
    listed = read_ids(path, name)
    found = item_ids.is_in(listed.implode()).to_numpy()
    unknown = listed.n_unique() - int(found.sum())
    if unknown:
        logger.warning(
            "%s: %s of %s ids are not in the catalogue",
            name,
            f"{unknown:,}",
            f"{listed.n_unique():,}",
        )
    return found
