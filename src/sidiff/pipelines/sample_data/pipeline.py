"""Pipeline ``sample_data``: the two raw files, made up."""

from __future__ import annotations

from kedro.pipeline import Node, Pipeline

from sidiff.pipelines.sample_data import nodes


def create_pipeline() -> Pipeline:
    """Generate the synthetic shop where real raw files would lie."""
    return Pipeline(
        [
            Node(
                nodes.generate_sample_shop,
                inputs="params:sample_data",
                outputs=["raw_reviews", "raw_metadata"],
                name="generate_sample_shop",
            ),
        ],
        tags=["sample_data", "cpu"],
    )
