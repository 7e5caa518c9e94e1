"""Pipeline ``ingestion``: raw files to typed frames."""

from __future__ import annotations

from kedro.pipeline import Pipeline

from sidiff.pipelines.graph import node
from sidiff.pipelines.ingestion import nodes


def create_pipeline() -> Pipeline:
    """Read both raw files and refuse them when too many lines are malformed."""
    return Pipeline(
        [
            node(
                nodes.ingest_reviews,
                "interactions",
                "rejected_reviews",
                "reviews_account",
                paths="raw_reviews",
                given="params:ingestion",
            ),
            node(
                nodes.ingest_metadata,
                "items",
                "rejected_metadata",
                "metadata_account",
                paths="raw_metadata",
                given="params:ingestion",
            ),
            node(
                nodes.check_rejected_lines,
                "ingestion_report",
                reviews="reviews_account",
                metadata="metadata_account",
                given="params:ingestion",
            ),
        ],
        tags="ingestion",
    )
