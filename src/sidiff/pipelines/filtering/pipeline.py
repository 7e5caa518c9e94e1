"""Pipeline ``filtering``: k-core, sequences, split, training samples."""

from __future__ import annotations

from kedro.pipeline import Node, Pipeline

from sidiff.pipelines.filtering import nodes


def create_pipeline() -> Pipeline:
    """Filter, order and split the interactions, and describe the outcome."""
    return Pipeline(
        [
            Node(
                nodes.filter_k_core,
                inputs=["interactions", "ingestion_report", "params:filtering"],
                outputs=["core_interactions", "core_account"],
                name="filter_k_core",
            ),
            Node(
                nodes.build_sequences,
                inputs=[
                    "core_interactions",
                    "items",
                    "ingestion_report",
                    "params:filtering",
                ],
                outputs=["sequences", "training_samples", "catalogue", "order_account"],
                name="build_sequences",
            ),
            Node(
                nodes.describe_data,
                inputs=[
                    "sequences",
                    "training_samples",
                    "catalogue",
                    "core_account",
                    "order_account",
                    "ingestion_report",
                    "params:filtering",
                ],
                outputs="data_statistics",
                name="describe_data",
            ),
        ],
        tags=["filtering", "cpu"],
    )
