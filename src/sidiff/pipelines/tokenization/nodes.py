"""Semantic IDs from embeddings: whitening, quantizer, table, report."""

# Every Kedro command imports this module; what is slow to import waits for the run.
# ruff: noqa: PLC0415

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import polars as pl

from sidiff.datasets import Model
from sidiff.pipelines.frames import to_embeddings, to_sequences, to_trained
from sidiff.sids.settings import TokenizationParameters
from sidiff.sids.table import SidTable

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from sidiff.sids.quantizers import Quantizer
    from sidiff.sids.whitening import Whitening


def join_histories(
    item_embeddings: pl.DataFrame,
    sequences: pl.DataFrame,
    catalogue: pl.DataFrame,
    tokenization: TokenizationParameters,
) -> pl.DataFrame:
    """Join text embeddings and collaborative factors, if their weight is not 0."""
    from sidiff.sids import collaborative

    settings = tokenization.collaborative
    if not settings.weight:
        return item_embeddings
    histories = collaborative.history_vectors(
        to_sequences(sequences, catalogue), settings, tokenization.seed
    )
    vectors = collaborative.fuse(
        to_embeddings(item_embeddings), histories, settings.weight
    )
    return item_embeddings.select(
        "item_id",
        collaborative.fused_fingerprints(item_embeddings["fingerprint"], histories),
        pl.Series("embedding", vectors, pl.Array(pl.Float32, vectors.shape[1])),
    )


def assign_sids(
    quantizer_input: pl.DataFrame,
    catalogue: pl.DataFrame,
    previous_whitening: Model | None,
    previous_quantizer: Model | None,
    previous_sid_table: pl.DataFrame | None,
    tokenization: TokenizationParameters,
) -> tuple[Model, Model, pl.DataFrame]:
    """Assign a semantic ID to every item.

    Whitening and quantizer are fitted on the items of the training samples. If only new
    items were added since the stored fit, that fit and all stored SIDs are kept.

    Returns:
        Whitening, quantizer and SID table.
    """
    from sidiff.sids import extension, tokenizer

    embeddings = to_embeddings(quantizer_input)
    items = pl.DataFrame(
        {
            "item_id": catalogue["item_id"],
            "embedding_sha256": quantizer_input["fingerprint"],
            "held_out": catalogue["held_out"],
        }
    )
    earlier = None
    if previous_whitening and previous_quantizer and previous_sid_table is not None:
        whitening, quantizer = previous_whitening, previous_quantizer
        settings = quantizer.metadata.get("settings", {})
        earlier = extension.table_to_extend(
            previous_sid_table, items, settings, tokenization
        )
    if earlier is None:
        fitted = tokenizer.fit(embeddings, to_trained(catalogue), tokenization)
        whitening, quantizer = _packed(*fitted, tokenization)
    table = tokenizer.assign_sids(
        embeddings,
        catalogue["item_id"],
        *unpacked(whitening, quantizer),
        tokenization,
        earlier,
    )
    return whitening, quantizer, table.to_frame().hstack(items.drop("item_id"))


def build_lattice(sid_table: pl.DataFrame) -> Model:
    """Build the lattice of the SIDs; empty if they are too long for a lattice."""
    from sidiff.decoding.lattice import Lattice, fits

    table = SidTable.from_frame(sid_table)
    sids = table.groups().sid_codes
    if not fits(*sids.shape):
        return Model({}, {})
    lattice = Lattice.build(sids, table.codebook_size)
    return Model(*lattice.to_tensors())


def report_sids(
    sid_table: pl.DataFrame,
    catalogue: pl.DataFrame,
    quantizer_input: pl.DataFrame,
    whitening: Model,
    quantizer: Model,
    tokenization: TokenizationParameters,
) -> tuple[dict[str, Any], Figure]:
    """Count collisions and used codes, and draw them."""
    from sidiff.sids import report, tokenizer

    table = SidTable.from_frame(sid_table)
    error = tokenizer.quantization_error(
        table,
        to_embeddings(quantizer_input),
        *unpacked(whitening, quantizer),
        tokenization,
    )
    numbers = report.sid_report(table, to_trained(catalogue), error)
    return numbers, report.sid_figure(table)


def _packed(
    whitening: Whitening | None,
    quantizer: Quantizer,
    parameters: TokenizationParameters,
) -> tuple[Model, Model]:
    from sidiff.sids.extension import fit_settings

    metadata = {"kind": quantizer.kind, "settings": fit_settings(parameters)}
    return (
        Model(whitening.to_tensors() if whitening else {}, {}),
        Model(quantizer.to_tensors(), metadata),
    )


def unpacked(whitening: Model, quantizer: Model) -> tuple[Whitening | None, Quantizer]:
    """Read the whitening, None if there is none, and the quantizer."""
    from sidiff.sids.quantizers import QUANTIZERS
    from sidiff.sids.whitening import Whitening

    return (
        Whitening(**whitening.tensors) if whitening.tensors else None,
        QUANTIZERS[quantizer.metadata["kind"]](**quantizer.tensors),
    )
