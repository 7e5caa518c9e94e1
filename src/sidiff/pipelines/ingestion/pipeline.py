"""Pipeline ``ingestion``: raw files to typed frames."""

from __future__ import annotations

from kedro.pipeline import Node, Pipeline

from sidiff.pipelines.ingestion import nodes


def create_pipeline() -> Pipeline:
    """Read both raw files and refuse them when too many lines are malformed."""
    return Pipeline(
        [
            Node(
                nodes.ingest_reviews,
                inputs=["raw_reviews", "params:ingestion"],
                outputs=["interactions", "rejected_reviews", "reviews_account"],
                name="ingest_reviews",
            ),
            Node(
                nodes.ingest_metadata,
                inputs=["raw_metadata", "params:ingestion"],
                outputs=["items", "rejected_metadata", "metadata_account"],
                name="ingest_metadata",
            ),
            Node(
                nodes.check_rejected_lines,
                inputs=[
                    "rejected_reviews",
                    "rejected_metadata",
                    "reviews_account",
                    "metadata_account",
                    "params:ingestion",
                    "params:storage",
                    "params:dataset",
                ],
                outputs="ingestion_report",
                name="check_rejected_lines",
            ),
        ],
        tags=["ingestion", "cpu"],
    )
