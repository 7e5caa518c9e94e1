"""Pipeline ``catalogue_update``: new items in, old ones out, nothing trained."""

from __future__ import annotations

from kedro.pipeline import Pipeline

from sidiff.pipelines.catalogue_update import nodes
from sidiff.pipelines.graph import node
from sidiff.pipelines.packaging.nodes import register_bundle


def create_pipeline() -> Pipeline:
    """Give new items semantic IDs, rebuild the bundle, and register it."""
    return Pipeline(
        [
            node(nodes.update_bundle, "bundle"),
            node(register_bundle, "registration"),
        ],
        tags="catalogue_update",
    )
