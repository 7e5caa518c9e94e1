"""Pipeline ``embedding``: item texts and their sentence embeddings."""

from __future__ import annotations

from kedro.pipeline import Pipeline

from sidiff.pipelines.embedding import nodes
from sidiff.pipelines.graph import GPU, node


def create_pipeline() -> Pipeline:
    """Render the texts and encode what changed since the version before."""
    return Pipeline(
        [
            node(nodes.render_item_texts, "item_texts"),
            node(nodes.embed_items, "item_embeddings", tags=GPU),
        ],
        tags="embedding",
    )
