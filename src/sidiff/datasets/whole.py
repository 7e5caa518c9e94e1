"""File data sets of kedro-datasets with atomic, stamped versions (``Stored``).

They have their own module because their libraries are slow to import. Arguments are
those of the Kedro data set.
"""

from __future__ import annotations

from kedro_datasets._typing import TablePreview
from kedro_datasets.json import JSONDataset
from kedro_datasets.matplotlib import MatplotlibDataset
from kedro_datasets.plotly import JSONDataset as PlotlyJSONDataset
from kedro_datasets.polars import EagerPolarsDataset
from kedro_datasets.text import TextDataset

from sidiff.datasets.previews import table_preview
from sidiff.datasets.stored import Stored


class PolarsDataset(Stored, EagerPolarsDataset):  # type: ignore[misc]
    """A polars frame in a file."""

    def preview(self, nrows: int = 5) -> TablePreview:
        """Return the first rows as kedro-viz shows them."""
        return table_preview(self.load().head(nrows))


class JsonDataset(Stored, JSONDataset):  # type: ignore[misc]
    """A JSON file."""


class TextFile(Stored, TextDataset):  # type: ignore[misc]
    """A text file."""


class FigureDataset(Stored, MatplotlibDataset):  # type: ignore[misc]
    """A figure as an image."""


class InteractiveFigure(Stored, PlotlyJSONDataset):  # type: ignore[misc]
    """A Plotly figure."""
