"""Pipeline ``catalogue_update``: new items in, old ones out, nothing trained."""

from __future__ import annotations

from kedro.pipeline import Node, Pipeline

from sidiff.pipelines.catalogue_update import nodes
from sidiff.pipelines.packaging.pipeline import register_node


def create_pipeline() -> Pipeline:
    """Give new items semantic IDs, rebuild the bundle, and register it."""
    return Pipeline(
        [
            Node(
                nodes.update_bundle,
                inputs=[
                    "previous_bundle",
                    "item_texts",
                    "item_embeddings",
                    "whitening",
                    "quantizer",
                    "sid_table",
                    "embedding_shards",
                    "params:update",
                    "params:ingestion",
                    "params:embedding",
                    "params:tokenization",
                ],
                outputs="bundle",
                name="update_bundle",
                tags=["cpu"],
            ),
            register_node(),
        ],
        tags=["catalogue_update"],
    )
