"""Embeddings to semantic IDs: whitening, quantizer, table, report."""

# Every Kedro command imports this module; what is slow to import waits for the run.
# ruff: noqa: PLC0415

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import polars as pl

from sidiff.datasets import Model
from sidiff.errors import SidiffError
from sidiff.pipelines.frames import (
    to_embeddings,
    to_held_out,
    to_sequences,
    to_trained,
)
from sidiff.sids.settings import TokenizationParameters
from sidiff.sids.table import SidTable

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from sidiff.sids.quantizers import Quantizer
    from sidiff.sids.whitening import Whitening


def describe_items(
    item_embeddings: pl.DataFrame,
    sequences: pl.DataFrame,
    catalogue: pl.DataFrame,
    tokenization: TokenizationParameters,
) -> pl.DataFrame:
    """Put beside the text embeddings what training histories say of the items."""
    from sidiff.sids import collaborative

    settings = tokenization.collaborative
    text = to_embeddings(item_embeddings)
    if not settings.weight:
        return item_embeddings
    histories = collaborative.history_vectors(
        to_sequences(sequences, catalogue), settings, tokenization.seed
    )
    prints = collaborative.fused_prints(item_embeddings["fingerprint"], histories)
    vectors = collaborative.fuse(text, histories, settings.weight)
    return pl.DataFrame(
        {
            "item_id": item_embeddings["item_id"],
            "fingerprint": prints,
            "embedding": pl.Series(
                vectors, dtype=pl.Array(pl.Float32, vectors.shape[1])
            ),
        }
    )


def fit_whitening(
    item_vectors: pl.DataFrame,
    catalogue: pl.DataFrame,
    previous_whitening: Model | None,
    previous_quantizer: Model | None,
    previous_sid_table: pl.DataFrame | None,
    tokenization: TokenizationParameters,
) -> Model:
    """Fit the whitening on the items of the training samples, or keep the one there is.

    The decision between the two is taken here, for the whole stage. It travels in the
    metadata as ``extends``: the fingerprint of the table that new items join, or None;
    so do the settings that the whitening is for.
    """
    from sidiff.sids import tokenizer
    from sidiff.sids.extension import table_to_extend

    embeddings = to_embeddings(item_vectors)
    noted = {"settings": tokenizer.whitening_settings(tokenization)}
    if previous_whitening and previous_quantizer and previous_sid_table is not None:
        now = _origin(
            item_vectors,
            catalogue,
            previous_whitening,
            previous_quantizer,
            tokenization,
        )
        extends = table_to_extend(previous_sid_table, now, tokenization)
        if extends is not None:
            return _noted(previous_whitening, {"extends": extends} | noted)
    whitening = tokenizer.learn_whitening(
        embeddings, to_trained(catalogue), tokenization
    )
    return _noted(Model(*tokenizer.pack(whitening)), {"extends": None} | noted)


def fit_quantizer(
    item_vectors: pl.DataFrame,
    catalogue: pl.DataFrame,
    whitening: Model,
    previous_quantizer: Model | None,
    tokenization: TokenizationParameters,
) -> Model:
    """Fit the quantizer on the items of the training samples, or keep the old one."""
    from sidiff.sids import tokenizer

    check_settings("whitening", whitening, tokenizer.whitening_settings(tokenization))
    extends = whitening.metadata.get("extends")
    made_of = {
        "extends": extends,
        "settings": tokenizer.quantizer_settings(tokenization),
    }
    if extends is not None and previous_quantizer is not None:
        return _noted(previous_quantizer, made_of)
    quantizer = tokenizer.learn_quantizer(
        to_embeddings(item_vectors),
        to_trained(catalogue),
        tokenizer.unpack_whitening(*whitening),
        tokenization,
    )
    return _noted(Model(*tokenizer.pack(quantizer)), made_of)


def assign_sids(
    item_vectors: pl.DataFrame,
    catalogue: pl.DataFrame,
    whitening: Model,
    quantizer: Model,
    previous_sid_table: pl.DataFrame | None,
    tokenization: TokenizationParameters,
) -> pl.DataFrame:
    """Give every item of the catalogue, or every new one, its semantic ID."""
    from sidiff.sids import tokenizer
    from sidiff.sids.extension import earlier_table

    check_settings("whitening", whitening, tokenizer.whitening_settings(tokenization))
    check_settings("quantizer", quantizer, tokenizer.quantizer_settings(tokenization))
    origin = _origin(item_vectors, catalogue, whitening, quantizer, tokenization)
    table = tokenizer.assign_sids(
        to_embeddings(item_vectors),
        to_trained(catalogue),
        catalogue["item_id"],
        tokenizer.unpack_whitening(*whitening),
        tokenizer.unpack_quantizer(*quantizer),
        tokenization,
        earlier_table(previous_sid_table, origin, quantizer.metadata.get("extends")),
    )
    return table.to_frame().hstack(origin.drop("item_id"))


def build_lattice(sid_table: pl.DataFrame) -> Model:
    """List what may follow every partial SID; empty where SIDs are too long for it."""
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
    item_vectors: pl.DataFrame,
    whitening: Model,
    quantizer: Model,
    tokenization: TokenizationParameters,
) -> tuple[dict[str, Any], Figure]:
    """Count collisions and used codes, and draw both."""
    from sidiff.sids import report, tokenizer

    table = SidTable.from_frame(sid_table)
    parts = unpacked(whitening, quantizer)
    error = tokenizer.quantization_error(
        table, to_embeddings(item_vectors), *parts, tokenization
    )
    numbers = report.sid_report(table, to_trained(catalogue), error)
    return numbers, report.sid_figure(table)


def _origin(
    item_vectors: pl.DataFrame,
    catalogue: pl.DataFrame,
    whitening: Model,
    quantizer: Model,
    tokenization: TokenizationParameters,
) -> pl.DataFrame:
    from sidiff.sids.extension import origin

    return origin(
        tokenization,
        *unpacked(whitening, quantizer),
        catalogue["item_id"],
        item_vectors["fingerprint"],
        to_held_out(catalogue),
    )


def unpacked(
    whitening: Model, quantizer: Model
) -> tuple[Whitening | None, Quantizer | None]:
    """The two fitted steps from embeddings to codes."""
    from sidiff.sids import tokenizer

    return (
        tokenizer.unpack_whitening(*whitening),
        tokenizer.unpack_quantizer(*quantizer),
    )


def _noted(model: Model, made_of: dict[str, Any]) -> Model:
    return Model(model.tensors, model.metadata | made_of)


def check_settings(name: str, model: Model, settings: Mapping[str, Any]) -> None:
    """Refuse a whitening or quantizer that was fitted with other settings.

    Raises:
        SidiffError: names the setting that differs.
    """
    noted = model.metadata.get("settings", {})
    for setting, now in settings.items():
        if noted.get(setting) != now:
            raise SidiffError(
                f"The stored {name} was fitted with tokenization.{setting} "
                f"{noted.get(setting)}, which is now {now}; run kedro run "
                "--pipeline=tokenization as a whole, or give the value it was fitted "
                "with."
            )
