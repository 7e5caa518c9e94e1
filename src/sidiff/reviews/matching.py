"""The comparison of the item ids of interactions and items."""

from __future__ import annotations

import polars as pl

from sidiff.errors import SidiffError

_EXAMPLES = 3


def check_matching(bought: pl.Series, described: pl.Series, least: float) -> None:
    """Check that enough items of the interactions have a row among the items.

    Args:
        bought: distinct item ids of the interactions.
        described: ids of the item table.
        least: smallest share of ``bought`` that must be in ``described``, 0 to 1.

    Raises:
        SidiffError: shows ids of both tables that do not match.
    """
    matched = bought.is_in(described.implode())
    if not len(bought) or matched.sum() >= least * len(bought):
        return
    unused = described.filter(~described.is_in(bought.implode())).sort()
    unused = unused if len(unused) else described.sort()
    raise SidiffError(
        f"Only {matched.sum():,} of {len(bought):,} items of the interactions have a "
        f"row in the items, whose ids are spelt like {_some(unused)}, those of the "
        f"interactions like {_some(bought.filter(~matched).sort())}: name matching "
        "columns under ingestion, give the right files, or lower "
        "filtering.min_metadata_share."
    )


def _some(ids: pl.Series) -> str:
    return ", ".join(f"{text!r}" for text in ids.head(_EXAMPLES).str.slice(0, 60))
