"""The extension of a fitted table by new items, and what it must carry for that.

A table may be extended if nothing that shaped it has changed: the settings, the fitted
arrays, the embeddings of its items, and which of them were held out of training. The
``Origin`` of a table records all four and is stored with it, row by row.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from sidiff.errors import SidiffError
from sidiff.fingerprints import of_texts, of_values, short
from sidiff.sids.table import SidTable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from sidiff.sids.quantizers import Quantizer
    from sidiff.sids.settings import TokenizationParameters
    from sidiff.sids.whitening import Whitening

FREE_SETTINGS = ("device", "new_items")
"""Settings that may change between a fit and its extension."""

COLUMNS = ("item_id", "generation", "embedding", "held_out", "settings", "fitted")
"""Columns that a stored table must have to be extended."""


@dataclass(frozen=True, eq=False)
class Origin:
    """The origin of a table.

    Attributes:
        settings: SHA-256 (hex) of the settings.
        fitted: SHA-256 (hex) of the arrays of whitening and quantizer.
        items: one row per item: item_id, embedding (the fingerprint of text and
            encoder), held_out (kept out of training).
    """

    settings: str
    fitted: str
    items: pl.DataFrame

    @classmethod
    def of(
        cls,
        parameters: TokenizationParameters,
        whitening: Whitening | None,
        quantizer: Quantizer | None,
        item_ids: pl.Series,
        prints: pl.Series,
        held_out: NDArray[np.bool_],
    ) -> Origin:
        """Describe a table in the making.

        Args:
            parameters: the settings of the stage.
            whitening: as fitted or reused.
            quantizer: as fitted or reused.
            item_ids: (N,) the catalogue.
            prints: (N,) fingerprints of the embeddings.
            held_out: (N,) items kept out of training.
        """
        return cls(
            _settings_print(parameters),
            fitted_print(whitening, quantizer),
            pl.DataFrame(
                {"item_id": item_ids, "embedding": prints, "held_out": held_out}
            ),
        )

    def attach(self, table: SidTable) -> pl.DataFrame:
        """The table as a frame that ``detach`` can read."""
        return table.to_frame().with_columns(
            self.items["embedding"],
            self.items["held_out"],
            pl.lit(self.settings).alias("settings"),
            pl.lit(self.fitted).alias("fitted"),
        )

    def earlier(
        self, stored: pl.DataFrame | None, extends: str | None
    ) -> SidTable | None:
        """The stored table that this one extends; None where it extends none.

        Args:
            stored: an earlier table, see ``attach``.
            extends: fingerprint of the table to extend, None for none.

        Raises:
            SidiffError: ``stored`` is not that table or grew from it, or the settings
                or fitted arrays are not those it was made with.
        """
        if extends is None:
            return None
        detached = Origin.detach(stored) if stored is not None else None
        there = None
        if detached is not None:
            table, origin = detached
            there = table.fingerprint
            same = (origin.settings, origin.fitted) == (self.settings, self.fitted)
            if same and extends in table.fingerprints():
                return table
        raise SidiffError(
            f"The stored quantizer is there to extend SID table {short(extends)}, and "
            f"what is stored is table {short(there)}, or one of other settings; run "
            "kedro run --pipeline=tokenization as a whole."
        )

    @classmethod
    def detach(cls, frame: pl.DataFrame) -> tuple[SidTable, Origin] | None:
        """Undo ``attach``; None where a column is missing or no row is there."""
        if not len(frame) or not set(COLUMNS) <= set(frame.columns):
            return None
        origin = cls(
            frame["settings"][0],
            frame["fitted"][0],
            frame.select("item_id", "embedding", "held_out"),
        )
        return SidTable.from_frame(frame), origin


def reason_to_refit(table: SidTable, stored: Origin, current: Origin) -> str | None:
    """Say why a stored table cannot be extended.

    Args:
        table: the stored table.
        stored: where it came from.
        current: the same with the settings, embeddings and held-out items of now, and
            with the stored whitening and quantizer.

    Returns:
        A clause for the log; empty where all is as it was and no item is new, so that
        a fit gives the same table; None where the table is to be extended.
    """
    both = stored.items.with_columns(generation=table.generation).join(
        current.items, on="item_id", how="left", suffix="_now", maintain_order="left"
    )
    gone = both["embedding_now"].null_count()
    other = (both["embedding"] != both["embedding_now"]).sum()
    fitted = both.filter(pl.col("generation") == 0)
    moved = (fitted["held_out"] != fitted["held_out_now"]).sum()
    changes = {
        "the settings of tokenization changed": stored.settings != current.settings,
        "the stored whitening and quantizer are not those of the stored table": (
            stored.fitted != current.fitted
        ),
        f"{gone:,} of its items left the catalogue": gone,
        f"the text or the encoder of {other:,} of its items changed": other,
        f"{moved:,} of its items went out of training or came back to it": moved,
    }
    for clause, changed in changes.items():
        if changed:
            return clause
    grows = len(current.items) > len(both) or table.generation.any()
    return None if grows else ""


def rows_in(item_ids: pl.Series, earlier: SidTable) -> NDArray[np.int64]:
    """The place in the catalogue of every item of ``earlier``.

    Raises:
        SidiffError: an item is not in the catalogue.
    """
    catalogue = pl.DataFrame({"item_id": item_ids}).with_row_index("row")
    rows = earlier.item_ids.to_frame().join(
        catalogue, on="item_id", how="left", maintain_order="left"
    )["row"]
    if rows.null_count():
        raise SidiffError(
            f"{rows.null_count():,} items of SID table {short(earlier.fingerprint)}, "
            f"which is to be extended, are not in catalogue "
            f"{short(of_texts(item_ids.to_list()))}; run kedro run "
            "--pipeline=tokenization as a whole."
        )
    return rows.to_numpy().astype(np.int64)


def fitted_print(whitening: Whitening | None, quantizer: Quantizer | None) -> str:
    """SHA-256 (hex) of the arrays of both."""
    return arrays_print(
        *(part.to_tensors()[0] if part else {} for part in (whitening, quantizer))
    )


def arrays_print(*groups: Mapping[str, NDArray[Any]]) -> str:
    """SHA-256 (hex) of arrays by name."""
    digest = hashlib.sha256()
    for tensors in groups:
        digest.update(f"{len(tensors)}\n".encode())
        for name, array in sorted(tensors.items()):
            digest.update(f"{name} {array.shape} {array.dtype}\n".encode())
            digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def _settings_print(parameters: TokenizationParameters) -> str:
    settings = parameters.model_dump(exclude=set(FREE_SETTINGS))
    return of_values(settings)
