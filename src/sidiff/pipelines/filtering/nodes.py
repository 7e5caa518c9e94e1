"""Sequences, training samples and the catalogue from interactions."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import polars as pl

from sidiff.pipelines.frames import samples_to_frame, to_samples, to_sequences
from sidiff.reviews import sequences as seq
from sidiff.reviews.kcore import k_core
from sidiff.reviews.matching import check_matching
from sidiff.reviews.settings import FilteringParameters
from sidiff.reviews.statistics import statistics, warnings_about

logger = logging.getLogger(__name__)

SYNTHETIC_ITEM = "B0SYN"
"""Prefix of the item ids of the synthetic shop, which no real catalogue uses."""


def filter_k_core(
    interactions: pl.LazyFrame,
    ingestion_report: dict[str, Any],
    filtering: FilteringParameters,
) -> tuple[pl.LazyFrame, dict[str, int]]:
    """Keep the interactions of the k-core, and count the others.

    The report is an input because an ingestion with too many rejected rows has none.
    """
    core = k_core(
        interactions,
        filtering.min_user_interactions,
        filtering.min_item_interactions,
        filtering.merge_seconds,
    )
    counts = {"merged_interactions": core.merged, "below_core": core.left_out}
    return core.frame, counts


def build_sequences(
    core_interactions: pl.LazyFrame,
    items: pl.DataFrame,
    ingestion_report: dict[str, Any],
    filtering: FilteringParameters,
) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame, dict[str, float]]:
    """Order each user's items and cut the training samples.

    Returns:
        The sequences, the training samples, the catalogue, and the share of
        interactions with equal times. The row of an item in the catalogue is its index
        in all later stages.
    """
    sequences, tied_share = seq.build_sequences(
        core_interactions,
        seq.order_of_ties(ingestion_report["layout"]),
        items["item_id"] if filtering.catalogue == "metadata" else None,
    )
    used = pl.Series(sequences.item_ids)
    if filtering.catalogue == "metadata":
        used = used.filter(np.bincount(sequences.items, minlength=len(used)) > 0)
    check_matching(used, items["item_id"], filtering.min_metadata_share)
    held_out = seq.draw_held_out(
        sequences.item_ids, filtering.cold_share, filtering.seed
    )
    sequences = seq.hold_out(sequences, held_out)
    samples = seq.training_samples(
        sequences, filtering.windows, filtering.min_history, filtering.max_history
    )
    catalogue = pl.DataFrame(
        {
            "item_index": np.arange(sequences.n_items, dtype=np.int32),
            "item_id": sequences.item_ids,
            "training_count": seq.training_counts(sequences),
            "in_training": seq.training_items(samples, sequences),
            "held_out": held_out,
        }
    ).join(
        items.select("item_id", "title", has_metadata=pl.lit(value=True)),
        on="item_id",
        how="left",
        maintain_order="left",
    )
    return (
        sequences.to_frame(),
        samples_to_frame(samples),
        catalogue.with_columns(pl.col("has_metadata").fill_null(value=False)),
        {"tied_share": tied_share},
    )


def describe_data(
    sequences: pl.DataFrame,
    training_samples: pl.DataFrame,
    catalogue: pl.DataFrame,
    core_summary: dict[str, int],
    order_summary: dict[str, float],
    ingestion_report: dict[str, Any],
    filtering: FilteringParameters,
) -> dict[str, int | float | bool | str]:
    """Count users, items, samples and rejected data, and log warnings."""
    users = to_sequences(sequences, catalogue)
    synthetic = catalogue["item_id"].str.starts_with(SYNTHETIC_ITEM).all()
    counts = statistics(
        users,
        to_samples(training_samples, filtering.max_history),
        filtering.max_history,
        catalogue["held_out"].to_numpy(),
    )
    files = {
        "items_without_metadata": int((~catalogue["has_metadata"]).sum()),
        "reviews_lines": ingestion_report["reviews"]["lines"],
        "metadata_lines": ingestion_report["metadata"]["lines"],
        "rejected_lines": ingestion_report["rejected_lines"],
    }
    counts = counts | files | core_summary | order_summary
    largest_user = str(users.user_ids[int(users.lengths.argmax())])
    for sentence in warnings_about(counts, filtering, largest_user):
        logger.warning(sentence)
    return {"synthetic": synthetic, "largest_user": largest_user, **counts}
