"""Pipeline ``packaging``: a bundle of all that lists are made from, registered."""

from __future__ import annotations

from kedro.pipeline import Pipeline

from sidiff.pipelines.graph import node
from sidiff.pipelines.packaging import nodes


def create_pipeline() -> Pipeline:
    """Put all that lists are made from into one folder, and register it."""
    return Pipeline(
        [
            node(nodes.make_bundle, "bundle"),
            node(nodes.register_bundle, "registration"),
        ],
        tags="packaging",
    )
