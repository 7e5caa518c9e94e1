"""Bundles from the results of the stages, and updates of a bundle's items.

New items are appended, so that old items keep their index, semantic ID and transitions.
Removed items are not recommended any more, but stay known in histories.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
import polars as pl
import torch

from sidiff.decoding.lattice import Lattice, fits
from sidiff.diffusion.histories import residual_rows
from sidiff.diffusion.joint import JointDenoiser
from sidiff.diffusion.networks import Network
from sidiff.errors import SidiffError
from sidiff.evaluation.settings import EvaluationParameters
from sidiff.ranking.markov import Chain
from sidiff.reviews.sequences import Sequences, training_counts
from sidiff.reviews.transitions import transition_counts
from sidiff.serving.bundle import Bundle
from sidiff.sids.table import SidTable


def make_bundle(
    network: Network,
    known_items: list[str],
    sequences: Sequences,
    titles: pl.Series,
    table: SidTable,
    lattice: Lattice | None,
    evaluation: EvaluationParameters,
    about: Mapping[str, Any],
) -> Bundle:
    """The bundle of a network, its items, their training counts and transitions.

    ``known_items`` are the ids of items with a residual in the network, in its order.
    ``lattice`` is None where the SIDs are too long, ``titles`` are null where unknown.
    ``about`` has entries of the manifest.
    """
    chain = {}
    if isinstance(network, JointDenoiser):
        counts = transition_counts(sequences)
        found = Chain.of(counts, evaluation.markov, torch.device("cpu"))
        chain = {
            name: array.numpy()
            for name, array in vars(found).items()
            if isinstance(array, torch.Tensor)
        }
    items = table.to_frame().with_columns(
        titles.cast(pl.String).alias("title"),
        pl.Series("training_count", training_counts(sequences), dtype=pl.Int64),
        pl.Series("residual", residual_rows(known_items, table.item_ids)),
        pl.lit(value=True).alias("offered"),
    )
    weights = network.state_dict()
    return Bundle(
        weights={name: np.asarray(tensor) for name, tensor in weights.items()},
        network=network.saved_config(),
        ranking={
            "ranking": evaluation.ranking.model_dump(),
            "markov": evaluation.markov.model_dump(),
            "transitions": evaluation.transitions.model_dump(),
            "precision": evaluation.precision,
        },
        items=items,
        lattice={} if lattice is None else lattice.to_tensors()[0],
        chain=chain,
        about=about,
    )


def updated(
    bundle: Bundle, table: SidTable, titles: pl.DataFrame, removed: pl.Series
) -> Bundle:
    """The bundle with the items of ``table``, less the removed ones.

    Args:
        bundle: as read from its folder.
        table: the bundle's items in their order, then the new items.
        titles: item_id and title of new items, and of old items to offer again.
        removed: ids of items that are not offered any more.

    Raises:
        SidiffError: a removed item is not in the bundle, or no offered item is left.
    """
    unknown = removed.filter(~removed.is_in(table.item_ids.implode()))
    if len(unknown):
        raise SidiffError(
            f"{len(unknown):,} of the items to remove are not in the bundle, "
            f"{unknown[0]} first; correct the list."
        )
    items = _items(bundle, table, titles, removed)
    if not items["offered"].any():
        raise SidiffError("No item would be left to recommend; remove fewer.")
    sids, lattice = table.groups().sid_codes, {}
    if fits(*sids.shape):
        lattice = Lattice.build(sids, table.codebook_size).to_tensors()[0]
    chain = dict(bundle.chain)
    if chain:  # new items have no transitions
        last = chain["starts"][-1:].repeat(len(items) - len(bundle.items))
        chain["starts"] = np.concatenate([chain["starts"], last])
    about = dict(bundle.about)
    extends = about.pop("fingerprint")
    return replace(
        bundle,
        items=items,
        lattice=lattice,
        chain=chain,
        about={
            **about,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "extends": extends,
            "sid_table": table.fingerprint,
        },
    )


def _items(
    bundle: Bundle, table: SidTable, titles: pl.DataFrame, removed: pl.Series
) -> pl.DataFrame:
    """The table of items of the updated bundle."""
    named = pl.col("item_id").is_in(titles["item_id"].implode())
    old = bundle.items.select(
        "item_id", "title", "training_count", "residual", "offered"
    )
    return (
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
