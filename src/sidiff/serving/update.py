"""A bundle with other items and the same network.

New items are appended, so that every old one keeps its place, its semantic ID and its
part of the Markov chain. An item that is taken out is not recommended any more, but
known in histories: what somebody bought says something of them all the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from sidiff.decoding.lattice import Lattice, fits
from sidiff.errors import SidiffError
from sidiff.serving.bundle import Bundle
from sidiff.sids.table import SidTable


def updated(
    bundle: Bundle, table: SidTable, titles: pl.DataFrame, removed: pl.Series
) -> Bundle:
    """The bundle with the items of ``table`` and without those ``removed``.

    Args:
        bundle: as read from its folder.
        table: the bundle's items in their order, then the new ones.
        titles: item_id and title of new items, and of old ones that are offered again.
        removed: ids of items not to recommend any more.

    Raises:
        SidiffError: an item to remove is not in the bundle, or none would be left.
    """
    unknown = removed.filter(~removed.is_in(table.item_ids.implode()))
    if len(unknown):
        raise SidiffError(
            f"{len(unknown):,} of the items to remove are not in the bundle, "
            f"{unknown[0]} first; correct the list."
        )
    named = pl.col("item_id").is_in(titles["item_id"].implode())
    old = bundle.items.select(
        "item_id", "title", "training_count", "residual", "offered"
    )
    items = (
        table.to_frame()
        .join(old, on="item_id", how="left", maintain_order="left")
        .join(
            titles.select("item_id", given="title"),
            on="item_id",
            how="left",
            maintain_order="left",
        )
        .with_columns(
            pl.coalesce("given", "title").alias("title"),
            pl.col("training_count", "residual").fill_null(0),
            offered=(named | pl.col("offered").fill_null(value=True))
            & ~pl.col("item_id").is_in(removed.implode()),
        )
        .drop("given")
    )
    if not items["offered"].any():
        raise SidiffError("No item would be left to recommend; remove fewer.")
    more = len(items) - len(bundle.items)
    about = dict(bundle.about)
    extends = about.pop("fingerprint")
    return replace(
        bundle,
        items=items,
        lattice=_lattice(table),
        chain=_longer(bundle.chain, more),
        about={
            **about,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "extends": extends,
            "sid_table": table.fingerprint,
        },
    )


def _lattice(table: SidTable) -> dict[str, NDArray[Any]]:
    sids = table.groups().sid_codes
    if not fits(*sids.shape):
        return {}
    return Lattice.build(sids, table.codebook_size).to_tensors()[0]


def _longer(chain: Mapping[str, NDArray[Any]], more: int) -> dict[str, NDArray[Any]]:
    """The chain with ``more`` items that nothing ever followed."""
    arrays = dict(chain)
    if arrays:
        starts = arrays["starts"]
        arrays["starts"] = np.concatenate([starts, np.repeat(starts[-1:], more)])
    return arrays
