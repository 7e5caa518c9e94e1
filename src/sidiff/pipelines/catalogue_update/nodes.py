"""The node that updates the items of the last bundle."""

# Every Kedro command imports this module; what is slow to import waits for the run.
# ruff: noqa: PLC0415

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from sidiff.datasets import Model
from sidiff.errors import SidiffError
from sidiff.evaluation.filters import read_ids
from sidiff.pipelines.frames import to_embeddings
from sidiff.pipelines.settings import UpdateParameters
from sidiff.pipelines.tokenization.nodes import unpacked
from sidiff.reviews.own_data import ingest_items
from sidiff.reviews.settings import IngestionParameters
from sidiff.reviews.text import render_texts
from sidiff.sids.settings import EmbeddingParameters, TokenizationParameters
from sidiff.snapshots import SnapshotFolder

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sidiff.serving import Bundle
    from sidiff.sids.table import SidTable

logger = logging.getLogger(__name__)


def update_bundle(
    previous_bundle: Bundle,
    item_texts: pl.DataFrame,
    item_embeddings: pl.DataFrame,
    whitening: Model,
    quantizer: Model,
    sid_table: pl.DataFrame,
    embedding_shards: SnapshotFolder,
    update: UpdateParameters,
    ingestion: IngestionParameters,
    embedding: EmbeddingParameters,
    tokenization: TokenizationParameters,
) -> Bundle:
    """Add new items, with semantic IDs, and remove others."""
    from sidiff.serving.making import updated

    if update.new_items is None and update.removed_items is None:
        raise SidiffError(
            "There is nothing to change; give --params=new_items=FILE or "
            "--params=removed_items=FILE."
        )
    removed = pl.Series([], dtype=pl.String)
    if update.removed_items is not None:
        removed = read_ids(update.removed_items, "removed_items").unique()
    table = previous_bundle.table
    titles = pl.DataFrame(schema={"item_id": pl.String, "title": pl.String})
    if update.new_items is not None:
        path = Path(update.new_items).expanduser()
        columns = ingestion.items
        items = ingest_items([path], columns).frame.collect()
        titles = items.select("item_id", "title")
        fresh = items.join(table.to_frame(), on="item_id", how="anti")
        if len(fresh):
            vectors = _embedded(
                fresh, item_texts, item_embeddings, embedding_shards, embedding
            )
            table = _extended(
                table,
                fresh["item_id"],
                vectors,
                (whitening, quantizer, sid_table),
                tokenization,
            )
    bundle = updated(previous_bundle, table, titles, removed)
    logger.info(
        "%s items are new, %s removed, %s offered",
        f"{len(bundle.items) - len(previous_bundle.items):,}",
        f"{len(removed):,}",
        f"{bundle.items['offered'].sum():,}",
    )
    return bundle


def _embedded(
    items: pl.DataFrame,
    item_texts: pl.DataFrame,
    item_embeddings: pl.DataFrame,
    shards: SnapshotFolder,
    settings: EmbeddingParameters,
) -> NDArray[np.float32]:
    """Embeddings of new items ``(n, P)`` by the encoder of the old items."""
    from sidiff.sids.encoder import Shards, embed, load_encoder

    encoder = load_encoder(settings.encoder, settings.device, settings.precision)
    (known,) = embed(item_texts.head(1), encoder, 1, None)["fingerprint"]
    if known != item_embeddings["fingerprint"][0]:
        raise SidiffError(
            "The stored item_embeddings are of another encoder than "
            f"embedding.encoder {settings.encoder}; set it to their encoder, or run "
            "kedro run --pipeline=full again."
        )
    found = embed(
        render_texts(items, items["item_id"], settings.text),
        encoder,
        settings.batch_size,
        None,
        Shards(shards, settings.shard_batches),
    )
    return to_embeddings(found)


def _extended(
    table: SidTable,
    item_ids: pl.Series,
    vectors: NDArray[np.float32],
    fitted: tuple[Model, Model, pl.DataFrame],
    parameters: TokenizationParameters,
) -> SidTable:
    """The table with new items after its old rows."""
    from sidiff.sids import tokenizer
    from sidiff.sids.extension import check_settings
    from sidiff.sids.table import SidTable

    whitening, quantizer, stored = fitted
    check_settings(quantizer.metadata.get("settings", {}), parameters)
    parts = unpacked(whitening, quantizer)
    if SidTable.from_frame(stored).fingerprint not in table.fingerprints():
        raise SidiffError(
            "The last bundle was made of another SID table than the stored one; run "
            "kedro run --pipeline=packaging first."
        )
    if parameters.collaborative.weight:
        # New items occur in no history: their collaborative vectors are 0.
        from sidiff.sids.collaborative import fuse

        width = parts[0].mean.size if parts[0] is not None else vectors.shape[1]
        nothing = np.zeros((len(vectors), width - vectors.shape[1]), np.float32)
        vectors = fuse(vectors, nothing, parameters.collaborative.weight)
    # Old items keep their codes, so their vectors are not read.
    old = np.repeat(vectors[:1], len(table.item_ids), axis=0)
    return tokenizer.assign_sids(
        np.concatenate([old, vectors]),
        pl.concat([table.item_ids, item_ids.alias("item_id")]),
        *parts,
        parameters,
        table,
    )
