"""Embeddings to semantic IDs: whitening, quantizer, table, report."""

# Every Kedro command imports this module; what is slow to import waits for the run.
# ruff: noqa: PLC0415

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import polars as pl

from sidiff.datasets import Model
from sidiff.parameters import TokenizationParameters
from sidiff.pipelines.frames import to_embeddings, to_sid_table, to_trained

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def fit_whitening(
    item_embeddings: pl.DataFrame, catalogue: pl.DataFrame, parameters: dict[str, Any]
) -> Model:
    """Fit the whitening on the items of the training samples."""
    from sidiff.sids import tokenizer

    whitening = tokenizer.learn_whitening(
        to_embeddings(item_embeddings, catalogue),
        to_trained(catalogue),
        TokenizationParameters.model_validate(parameters),
    )
    return Model(*tokenizer.pack(whitening))


def fit_quantizer(
    item_embeddings: pl.DataFrame,
    catalogue: pl.DataFrame,
    whitening: Model,
    parameters: dict[str, Any],
) -> Model:
    """Fit the quantizer on the items of the training samples."""
    from sidiff.sids import tokenizer

    quantizer = tokenizer.learn_quantizer(
        to_embeddings(item_embeddings, catalogue),
        to_trained(catalogue),
        tokenizer.unpack_whitening(*whitening),
        TokenizationParameters.model_validate(parameters),
    )
    return Model(*tokenizer.pack(quantizer))


def assign_sids(
    item_embeddings: pl.DataFrame,
    catalogue: pl.DataFrame,
    whitening: Model,
    quantizer: Model,
    parameters: dict[str, Any],
) -> pl.DataFrame:
    """Give every item of the catalogue its semantic ID."""
    from sidiff.sids import tokenizer

    return tokenizer.assign_sids(
        to_embeddings(item_embeddings, catalogue),
        to_trained(catalogue),
        catalogue["item_id"],
        tokenizer.unpack_whitening(*whitening),
        tokenizer.unpack_quantizer(*quantizer),
        TokenizationParameters.model_validate(parameters),
    ).to_frame()


def build_lattice(sid_table: pl.DataFrame, catalogue: pl.DataFrame) -> Model:
    """List what may follow every partial SID; empty where SIDs are too long for it."""
    from sidiff.decoding.lattice import MAX_DIGITS, Lattice

    table = to_sid_table(sid_table, catalogue)
    made_of = {"sid_table": table.fingerprint}
    if table.digits > MAX_DIGITS:
        return Model({}, made_of)
    lattice = Lattice.build(table.groups().sid_codes, table.codes_per_digit)
    tensors, metadata = lattice.to_tensors()
    return Model(tensors, metadata | made_of)


def report_sids(
    sid_table: pl.DataFrame,
    catalogue: pl.DataFrame,
    item_embeddings: pl.DataFrame,
    whitening: Model,
    quantizer: Model,
) -> tuple[dict[str, Any], Figure]:
    """Count collisions and used codes, and draw both."""
    from sidiff.sids import report, tokenizer

    table = to_sid_table(sid_table, catalogue)
    error = tokenizer.quantization_error(
        table,
        to_embeddings(item_embeddings, catalogue),
        tokenizer.unpack_whitening(*whitening),
        tokenizer.unpack_quantizer(*quantizer),
    )
    numbers = report.sid_report(table, to_trained(catalogue), error)
    return numbers, report.sid_figure(table)
