"""Kedro's own file data sets, except that a version is whole or absent, and checked.

Kedro's write in place: a crash in the middle leaves half a file as the latest version.
Apart from the other data sets, because these libraries are slow to import.
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Any

from kedro.io.core import get_filepath_str
from kedro_datasets.json import JSONDataset
from kedro_datasets.matplotlib import MatplotlibDataset
from kedro_datasets.polars import EagerPolarsDataset
from kedro_datasets.text import TextDataset

from sidiff.datasets.checksums import check, read_errors, write_checksum
from sidiff.files import whole_file


class _Whole:
    """Mixin before a file data set of Kedro's; its arguments are that data set's.

    On this machine's disk a file is written under another name, and takes its own when
    it and its checksum are on the disk. Object stores show whole files only, and are
    left as they are.
    """

    _part: PurePosixPath | None = None

    def save(self, data: Any) -> None:
        """Store ``data`` as a whole file with a checksum beside it.

        Raises:
            SidiffError: the disk is full or refuses; there is no new version then.
        """
        inner: Any = super()
        if self._protocol != "file":  # type: ignore[attr-defined]
            inner.save.__wrapped__(self, data)
            return
        path = Path(self._get_save_path())
        with whole_file(path) as part:
            self._part = PurePosixPath(part)
            try:
                # Not Kedro's wrapper around it, which looks for the version it made.
                inner.save.__wrapped__(self, data)
            finally:
                self._part = None
            write_checksum(path, part)

    def load(self) -> Any:
        """Read what was stored.

        Raises:
            SidiffError: the file cannot be read, or is not the one that was stored.
        """
        inner: Any = super()
        path = Path(get_filepath_str(inner._get_load_path(), "file"))
        with read_errors(path):
            if self._protocol == "file":  # type: ignore[attr-defined]
                check(path)
            return inner.load.__wrapped__(self)

    def _get_save_path(self) -> PurePosixPath:
        inner: Any = super()
        return self._part or inner._get_save_path()


class PolarsDataset(_Whole, EagerPolarsDataset):  # type: ignore[misc]
    """A polars frame in a file; arguments as of ``polars.EagerPolarsDataset``."""


class JsonDataset(_Whole, JSONDataset):  # type: ignore[misc]
    """A JSON file; arguments as of ``json.JSONDataset``."""


class TextFile(_Whole, TextDataset):  # type: ignore[misc]
    """A text file; arguments as of ``text.TextDataset``."""


class FigureDataset(_Whole, MatplotlibDataset):  # type: ignore[misc]
    """A figure; arguments as of ``matplotlib.MatplotlibDataset``."""
