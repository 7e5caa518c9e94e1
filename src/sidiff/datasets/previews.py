"""Tables as kedro-viz shows them."""

from __future__ import annotations

import polars as pl
from kedro_datasets._typing import TablePreview

_DIGEST = r"^[0-9a-f]{16,}$"
_CELL = 120
"""Characters of the longest cell."""


def table_preview(head: pl.DataFrame) -> TablePreview:
    """Return the first rows of a table without its columns of digests.

    A digest says nothing to a reader, and its 64 digits push the other columns out of
    the panel. Lists are shown as text, which is all that kedro-viz can draw of them.

    Args:
        head: the first rows.
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
