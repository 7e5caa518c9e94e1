"""Pipeline ``sample_data``: the two raw files of the synthetic shop."""

from __future__ import annotations

from kedro.pipeline import Pipeline

from sidiff.pipelines.graph import node
from sidiff.pipelines.sample_data import nodes


def create_pipeline() -> Pipeline:
    """Generate the synthetic shop, unless the raw files are real."""
    return Pipeline(
        [
            node(nodes.generate_sample_shop, "raw_reviews", "raw_metadata"),
        ],
        tags="sample_data",
    )
