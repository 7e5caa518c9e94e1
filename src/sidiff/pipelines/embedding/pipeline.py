"""Pipeline ``embedding``: item texts and their sentence embeddings."""

from __future__ import annotations

from kedro.pipeline import Node, Pipeline

from sidiff.pipelines.embedding import nodes


def create_pipeline() -> Pipeline:
    """Render the texts and encode what changed since the version before."""
    return Pipeline(
        [
            Node(
                nodes.render_item_texts,
                inputs=[
                    "items",
                    "catalogue",
                    "params:embedding",
                    "params:ingestion.layout",
                ],
                outputs="item_texts",
                name="render_item_texts",
                tags=["cpu"],
            ),
            Node(
                nodes.embed_items,
                inputs=[
                    "item_texts",
                    "previous_item_embeddings",
                    "params:embedding",
                    "embedding_shards",
                    "params:ray.address",
                ],
                outputs="item_embeddings",
                name="embed_items",
                tags=["gpu", "expensive"],
            ),
        ],
        tags=["embedding"],
    )
