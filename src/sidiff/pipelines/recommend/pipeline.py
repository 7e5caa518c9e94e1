"""Pipeline ``recommend``: lists for the shop, from whole histories."""

from __future__ import annotations

from kedro.pipeline import Pipeline

from sidiff.pipelines.graph import GPU, node
from sidiff.pipelines.recommend import nodes


def create_pipeline() -> Pipeline:
    """Recommend to every user of the log, or of a table given."""
    return Pipeline(
        [
            node(
                nodes.recommend,
                "recommendations",
                tags=GPU,
                settings="params:recommend",
            ),
        ],
        tags="recommend",
    )
