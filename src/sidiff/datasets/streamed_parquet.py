"""A table that may be larger than the memory, from one Parquet file to the next."""

from __future__ import annotations

import atexit
from functools import cache
from pathlib import Path, PurePosixPath
from shutil import rmtree
from tempfile import mkdtemp

import polars as pl
from kedro_datasets._typing import TablePreview

from sidiff.datasets.previews import table_preview
from sidiff.datasets.stamps import check, read_errors, read_stamp
from sidiff.datasets.versions import StoredFile
from sidiff.files import whole_file
from sidiff.storage import address_of, download, is_local, whole_object


class StreamedParquet(StoredFile[pl.LazyFrame, pl.LazyFrame]):
    """A Parquet file that is scanned, and written batch by batch.

    Polars' lazy data set of kedro-datasets collects the whole table to save it.

    In an object store it is written here and uploaded; to read it, it is copied here
    once, and the copy is removed when the process ends: a scan goes over it several
    times. There must be room for both below ``TMPDIR``. Arguments as of ``StoredFile``.
    """

    def load(self) -> pl.LazyFrame:
        """Name the rows, in the order of the file; none is read yet.

        Raises:
            SidiffError: the file cannot be read or is not the one that was stored, or
                the store cannot be read.
        """
        path = self._place(self._get_load_path())
        with read_errors(address_of(self._fs, path)):
            local = Path(path)
            if is_local(self._fs):
                check(self._fs, path, local)
            else:
                local = self._copied(path)
            rows = pl.scan_parquet(local, glob=False)
            rows.collect_schema()
        return rows

    def save(self, data: pl.LazyFrame) -> None:
        """Write the rows in their order, and a stamp beside them.

        Raises:
            SidiffError: the disk is full or the store refuses; there is no new
                version then.
        """
        path = self._place(self._get_save_path())
        with whole_object(self._fs, path) as part:
            data.sink_parquet(part, maintain_order=True)
            self.write_stamp(path, part)

    def preview(self, nrows: int) -> TablePreview:
        """Return the first rows as kedro-viz shows them."""
        with self._fs.open(self._place(self._get_load_path()), "rb") as file:
            return table_preview(pl.read_parquet(file, n_rows=nrows))

    def _copied(self, path: str) -> Path:
        """Return the file of this machine that holds what a store has at ``path``."""
        stamp = read_stamp(self._fs, path)
        # By content; a table without a stamp gets a folder of its own every time.
        folder = _copies() / stamp.sha256 if stamp else Path(mkdtemp(dir=_copies()))
        copy = folder / PurePosixPath(path).name
        if not copy.exists():
            with whole_file(copy) as part:
                download(self._fs, path, part)
                check(self._fs, path, part)
        return copy


@cache
def _copies() -> Path:
    """The folder of the copies, until the process ends."""
    folder = mkdtemp(prefix="sidiff-")
    atexit.register(rmtree, folder, ignore_errors=True)
    return Path(folder)
