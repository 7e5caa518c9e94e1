"""Parquet tables that may be larger than the memory."""

from __future__ import annotations

import atexit
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path, PurePosixPath
from shutil import rmtree
from tempfile import mkdtemp

import polars as pl
from kedro_datasets._typing import TablePreview

from sidiff.datasets.previews import table_preview
from sidiff.datasets.stored import StoredFile
from sidiff.files import atomic_file
from sidiff.storage import download, is_local


class StreamedParquet(StoredFile[pl.LazyFrame, pl.LazyFrame]):
    """A Parquet file that is scanned, and written batch by batch.

    (The lazy data set of kedro-datasets collects the whole table to save it.)

    A file in an object store is written here and uploaded. For reading it is copied
    here once, as it is scanned several times; the copy is removed when the process
    ends. Both need space below ``TMPDIR``. Arguments are those of ``StoredFile``.
    """

    def _read(self, file: Path) -> pl.LazyFrame:
        rows = pl.scan_parquet(file, glob=False)
        rows.collect_schema()
        return rows

    def _write(self, file: Path, data: pl.LazyFrame) -> None:
        data.sink_parquet(file, maintain_order=True)

    def preview(self, nrows: int) -> TablePreview:
        """Return the first rows as kedro-viz shows them."""
        with self._fs.open(self._place(self._get_load_path()), "rb") as file:
            return table_preview(pl.read_parquet(file, n_rows=nrows))

    @contextmanager
    def _checked(self, path: str) -> Iterator[Path]:
        if is_local(self._fs):
            with super()._checked(path) as file:
                yield file
            return
        stamp = self._stamp_of(path)
        # Copies are found by content; without a stamp, every read makes a new one.
        folder = (
            session_copies() / stamp.sha256
            if stamp
            else Path(mkdtemp(dir=session_copies()))
        )
        copy = folder / PurePosixPath(path).name
        if not copy.exists():
            with atomic_file(copy) as part:
                download(self._fs, path, part)
                self._check(path, part)
        yield copy


@cache
def session_copies() -> Path:
    """Make the folder for copies of remote files, removed when the process ends."""
    folder = mkdtemp(prefix="sidiff-")
    atexit.register(rmtree, folder, ignore_errors=True)
    return Path(folder)
