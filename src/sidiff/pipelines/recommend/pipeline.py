"""Pipeline ``recommend``: lists for the shop, from whole histories."""

from __future__ import annotations

from kedro.pipeline import Node, Pipeline

from sidiff.pipelines.recommend import nodes


def create_pipeline() -> Pipeline:
    """Recommend to every user of the log, or of a table given."""
    return Pipeline(
        [
            Node(
                nodes.recommend,
                inputs=[
                    "bundle",
                    "interactions",
                    "ingestion_report",
                    "unfinished_lists",
                    "params:recommend",
                    "params:ingestion",
                    "params:filtering",
                ],
                outputs="recommendations",
                name="recommend",
                tags=["gpu", "expensive"],
            ),
        ],
        tags=["recommend"],
    )
