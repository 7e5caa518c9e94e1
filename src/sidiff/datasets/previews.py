"""Previews of tables for kedro-viz."""

from __future__ import annotations

import polars as pl
from kedro_datasets._typing import TablePreview

_DIGEST = r"^[0-9a-f]{16,}$"
_CELL = 120
"""Largest number of characters of a cell."""


def table_preview(head: pl.DataFrame) -> TablePreview:
    """Convert the first rows of a table to a preview.

    Columns of digests are left out, as they would fill the panel. Lists become texts,
    because kedro-viz does not show lists.
    """
    texts = head.select(pl.selectors.by_dtype(pl.String, pl.Enum).cast(pl.String))
    digests = [
        name for name in texts.columns if texts[name].str.contains(_DIGEST).all()
    ]
    shown = head.drop(digests if len(head) else [])
    return TablePreview(
        {
            "index": list(range(len(shown))),
            "columns": shown.columns,
            "data": [[_cell(value) for value in row] for row in shown.iter_rows()],
        }
    )


def _cell(value: object) -> object:
    if isinstance(value, int | float | None):
        return value
    text = str(value)
    return text if len(text) <= _CELL else text[:_CELL] + "..."
