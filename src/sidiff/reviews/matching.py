"""The match of the ids of interactions and items."""

from __future__ import annotations

import polars as pl

from sidiff.errors import SidiffError

_EXAMPLES = 3


def check_matching(bought: pl.Series, described: pl.Series, least: float) -> None:
    """Stop when too few items of the interactions have a row among the items.

    Of the ids ``bought``, each there once, the share ``least``, 0 to 1, must be among
    those ``described``.

    Raises:
        SidiffError: shows ids of both tables that have no partner.
    """
    found = bought.is_in(described.implode())
    if not len(bought) or found.sum() >= least * len(bought):
        return
    lonely = described.filter(~described.is_in(bought.implode())).sort()
    lonely = lonely if len(lonely) else described.sort()
    raise SidiffError(
        f"Only {found.sum():,} of {len(bought):,} items of the interactions have a row "
        f"in the items, whose ids are spelt like {_some(lonely)}, those of the "
        f"interactions like {_some(bought.filter(~found).sort())}: name matching "
        "columns under ingestion, give the right files, or lower "
        "filtering.min_metadata_share."
    )


def _some(ids: pl.Series) -> str:
    return ", ".join(f"{text!r}" for text in ids.head(_EXAMPLES).str.slice(0, 60))
