"""Texts of items and their embeddings."""

# Every Kedro command imports this module; what is slow to import waits for the run.
# ruff: noqa: PLC0415

from __future__ import annotations

import polars as pl

from sidiff.reviews.text import render_texts
from sidiff.sids.settings import EmbeddingParameters
from sidiff.snapshots import SnapshotFolder


def render_item_texts(
    items: pl.DataFrame,
    catalogue: pl.DataFrame,
    embedding: EmbeddingParameters,
    layout: str,
) -> pl.DataFrame:
    """Write a text about each item of the catalogue."""
    return render_texts(
        items, catalogue["item_id"], embedding.text, own=layout == "table"
    )


def embed_items(
    item_texts: pl.DataFrame,
    previous_item_embeddings: pl.DataFrame | None,
    embedding: EmbeddingParameters,
    embedding_shards: SnapshotFolder,
    ray_address: str | None,
) -> pl.DataFrame:
    """Encode the texts that are neither in the previous version nor in a shard."""
    from sidiff.sids.encoder import Encoder, Shards, embed, load_encoder
    from sidiff.sids.unread import count_unread

    encoder: Encoder
    encoder = local = load_encoder(
        embedding.encoder, embedding.device, embedding.precision
    )
    count_unread(item_texts["text"], [part.label for part in embedding.text], local)
    if embedding.engine == "ray":
        from sidiff.engines.inference import RayEncoder

        encoder = RayEncoder(local, embedding.device, embedding.workers, ray_address)
    return embed(
        item_texts,
        encoder,
        embedding.batch_size,
        previous_item_embeddings,
        Shards(embedding_shards, embedding.shard_batches),
    )
