"""Kedro's own file data sets, except that a version is whole or absent, and checked.

Kedro's write in place: a crash in the middle leaves half a file as the latest version,
and so does an error in an object store, where closing the half file uploads it.
Apart from the other data sets, because these libraries are slow to import.
"""

from __future__ import annotations

from copy import copy
from pathlib import Path, PurePosixPath
from typing import Any, Self

from fsspec.implementations.local import LocalFileSystem
from kedro_datasets._typing import TablePreview
from kedro_datasets.json import JSONDataset
from kedro_datasets.matplotlib import MatplotlibDataset
from kedro_datasets.plotly import JSONDataset as PlotlyJSONDataset
from kedro_datasets.polars import EagerPolarsDataset
from kedro_datasets.text import TextDataset

from sidiff.datasets.previews import table_preview
from sidiff.datasets.stamps import checked_copy, read_errors
from sidiff.datasets.versions import Stored
from sidiff.storage import address_of, whole_object


class _Whole(Stored):
    """Mixin before a file data set of Kedro's; its arguments are that data set's.

    A file is written under another name on this machine, and takes its own, here or in
    an object store, when it and its stamp are there.
    """

    def save(self, data: Any) -> None:
        """Store ``data`` as a whole file with a stamp beside it.

        Raises:
            SidiffError: the disk is full or the store refuses; there is no new
                version then.
        """
        inner: Any = super()
        path = self._place(self._get_save_path())
        with whole_object(self._fs, path) as part:
            # Not Kedro's wrapper around it, which looks for the version it made.
            inner.save.__wrapped__(self._at(part), data)
            self.write_stamp(path, part)

    def load(self) -> Any:
        """Read what was stored.

        Raises:
            SidiffError: the file cannot be read or is not the one that was stored, or
                the store cannot be read.
        """
        inner: Any = super()
        path = self._place(inner._get_load_path())
        with (
            read_errors(address_of(self._fs, path)),
            checked_copy(self._fs, path) as file,
        ):
            return inner.load.__wrapped__(self._at(file))

    def _at(self, path: Path) -> Self:
        """The same data set, unversioned, as a file of this machine."""
        here: Any = copy(self)
        here._fs, here._protocol = LocalFileSystem(), "file"
        here._filepath, here._version = PurePosixPath(path), None
        return here


class PolarsDataset(_Whole, EagerPolarsDataset):  # type: ignore[misc]
    """A polars frame in a file; arguments as of ``polars.EagerPolarsDataset``."""

    def preview(self, nrows: int = 5) -> TablePreview:
        """Return the first rows as kedro-viz shows them."""
        return table_preview(self.load().head(nrows))


class JsonDataset(_Whole, JSONDataset):  # type: ignore[misc]
    """A JSON file; arguments as of ``json.JSONDataset``."""


class TextFile(_Whole, TextDataset):  # type: ignore[misc]
    """A text file; arguments as of ``text.TextDataset``."""


class FigureDataset(_Whole, MatplotlibDataset):  # type: ignore[misc]
    """A figure; arguments as of ``matplotlib.MatplotlibDataset``."""


class InteractiveFigure(_Whole, PlotlyJSONDataset):  # type: ignore[misc]
    """A Plotly figure; arguments as of ``plotly.JSONDataset``."""
