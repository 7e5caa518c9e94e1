"""Refusals of stored parts of the tokenization that were not made with each other.

Its nodes can be run one by one, and versions can be pinned. So whitening, quantizer and
SID table note what each was made of, and whoever puts two together compares the notes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import polars as pl

from sidiff.datasets import Model
from sidiff.errors import SidiffError
from sidiff.fingerprints import of_texts, short

if TYPE_CHECKING:
    from sidiff.sids.quantizers import Quantizer
    from sidiff.sids.whitening import Whitening

_AS_A_WHOLE = (
    "run kedro run --pipeline=tokenization as a whole, or choose matching "
    "--load-versions"
)


def vectors_print(item_vectors: pl.DataFrame) -> str:
    """Fingerprint of the items and of what their vectors were made of."""
    columns = (item_vectors[name].to_list() for name in ("item_id", "fingerprint"))
    return of_texts(text for column in columns for text in column)


def model_print(model: Model) -> str:
    """Fingerprint of fitted arrays and of the vectors that they are for."""
    from sidiff.sids.extension import arrays_print  # noqa: PLC0415 (slow to import)

    made_for = str(model.metadata.get("item_vectors"))
    return of_texts([arrays_print(model.tensors), made_for])


def check_whitening(
    whitening: Model, item_vectors: pl.DataFrame, settings: Mapping[str, Any]
) -> None:
    """Refuse a whitening of other vectors or settings.

    Raises:
        SidiffError: names both fingerprints, or the setting that differs.
    """
    made_for, now = whitening.metadata.get("item_vectors"), vectors_print(item_vectors)
    if made_for != now:
        raise SidiffError(
            f"The stored whitening is for item_vectors {short(made_for)}, the stored "
            f"ones are {short(now)}; {_AS_A_WHOLE}."
        )
    _check_settings("whitening", whitening, settings)


def check_quantizer(
    quantizer: Model, whitening: Model, settings: Mapping[str, Any] | None = None
) -> None:
    """Refuse a quantizer of another whitening, or of other settings if any are given.

    Raises:
        SidiffError: names both fingerprints, or the setting that differs.
    """
    fitted_with, now = quantizer.metadata.get("whitening"), model_print(whitening)
    if fitted_with != now:
        raise SidiffError(
            f"The stored quantizer was fitted with whitening {short(fitted_with)}, the "
            f"stored one is {short(now)}; {_AS_A_WHOLE}."
        )
    if settings is not None:
        _check_settings("quantizer", quantizer, settings)


def check_vectors(sid_table: pl.DataFrame, item_vectors: pl.DataFrame) -> None:
    """Refuse a SID table of other embeddings; both have the catalogue's rows.

    Raises:
        SidiffError: names both fingerprints.
    """
    made_of = "none"
    if "embedding" in sid_table.columns:
        noted = sid_table.select("item_id", fingerprint="embedding")
        made_of = vectors_print(noted)
    now = vectors_print(item_vectors)
    if made_of != now:
        raise SidiffError(
            f"The stored sid_table was made of item_vectors {short(made_of)}, the "
            f"stored ones are {short(now)}; {_AS_A_WHOLE}."
        )


def check_fitted(
    sid_table: pl.DataFrame, whitening: Whitening | None, quantizer: Quantizer | None
) -> None:
    """Refuse a SID table of another whitening or quantizer.

    Raises:
        SidiffError: names both fingerprints.
    """
    from sidiff.sids.extension import fitted_print  # noqa: PLC0415 (slow to import)

    noted = sid_table["fitted"][0] if "fitted" in sid_table.columns else None
    now = fitted_print(whitening, quantizer)
    if noted != now:
        raise SidiffError(
            f"The stored sid_table was made with whitening and quantizer "
            f"{short(noted)}, the stored ones are {short(now)}; {_AS_A_WHOLE}."
        )


def _check_settings(name: str, model: Model, settings: Mapping[str, Any]) -> None:
    noted = model.metadata.get("settings", {})
    for setting, now in settings.items():
        if noted.get(setting) != now:
            raise SidiffError(
                f"The stored {name} was fitted with tokenization.{setting} "
                f"{noted.get(setting)}, which is now {now}; run kedro run "
                "--pipeline=tokenization as a whole, or give the value it was fitted "
                "with."
            )
