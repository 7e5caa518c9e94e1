"""Pipeline ``filtering``: k-core, sequences, split, training samples."""

from __future__ import annotations

from kedro.pipeline import Pipeline

from sidiff.pipelines.filtering import nodes
from sidiff.pipelines.graph import node


def create_pipeline() -> Pipeline:
    """Filter, order and split the interactions, and describe the outcome."""
    return Pipeline(
        [
            node(nodes.filter_k_core, "core_interactions", "core_account"),
            node(
                nodes.build_sequences,
                "sequences",
                "training_samples",
                "catalogue",
                "order_account",
            ),
            node(nodes.describe_data, "data_statistics"),
        ],
        tags="filtering",
    )
