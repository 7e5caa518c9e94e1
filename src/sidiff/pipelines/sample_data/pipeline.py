"""Pipeline ``sample_data``: the two raw files of the synthetic shop."""

from __future__ import annotations

from kedro.pipeline import Node, Pipeline

from sidiff.pipelines.sample_data import nodes


def create_pipeline() -> Pipeline:
    """Generate the synthetic shop, unless the raw files are real."""
    return Pipeline(
        [
            Node(
                nodes.generate_sample_shop,
                inputs=["params:sample_data", "params:source"],
                outputs=["raw_reviews", "raw_metadata"],
                name="generate_sample_shop",
            ),
        ],
        tags=["sample_data", "cpu"],
    )
