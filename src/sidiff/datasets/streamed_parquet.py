"""A table that may be larger than the memory, from one Parquet file to the next."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Any

import fsspec
import polars as pl
from kedro.io import AbstractVersionedDataset, DatasetError
from kedro.io.core import Version, get_protocol_and_path
from kedro_datasets._typing import TablePreview

from sidiff.datasets.checksums import check, read_errors, write_checksum
from sidiff.files import whole_file


class StreamedParquet(AbstractVersionedDataset[pl.LazyFrame, pl.LazyFrame]):
    """A local Parquet file that is scanned, and written batch by batch.

    Polars' lazy data set of kedro-datasets collects the whole table to save it.
    """

    def __init__(
        self,
        filepath: str,
        version: Version | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> None:
        """Name the table.

        Args:
            filepath: path of the Parquet file.
            version: set by Kedro.
            metadata: for plugins, ignored here.

        Raises:
            DatasetError: the path is an address of another file system.
        """
        protocol, path = get_protocol_and_path(filepath, version)
        if protocol != "file":
            raise DatasetError(f"{filepath} is not on this machine: give a local path.")
        files = fsspec.filesystem("file")
        self.metadata = metadata
        super().__init__(
            filepath=PurePosixPath(path),
            version=version,
            exists_function=files.exists,
            glob_function=files.glob,
        )

    def load(self) -> pl.LazyFrame:
        """Name the rows, in the order of the file; none is read yet.

        Raises:
            SidiffError: the file cannot be read, or is not the one that was stored.
        """
        path = Path(self._get_load_path())
        with read_errors(path):
            check(path)
            rows = pl.scan_parquet(path, glob=False)
            rows.collect_schema()
        return rows

    def save(self, data: pl.LazyFrame) -> None:
        """Write the rows in their order, and a checksum beside them.

        Raises:
            SidiffError: the disk is full or refuses; there is no new version then.
        """
        path = Path(self._get_save_path())
        with whole_file(path) as part:
            data.sink_parquet(part, maintain_order=True)
            write_checksum(path, part)

    def preview(self, nrows: int) -> TablePreview:
        """Return the first rows as kedro-viz shows them."""
        head = self._copy().load().head(nrows).collect()
        return TablePreview(
            {
                "index": list(range(len(head))),
                "columns": head.columns,
                "data": [list(row) for row in head.iter_rows()],
            }
        )

    def _exists(self) -> bool:
        try:
            return Path(self._get_load_path()).exists()
        except DatasetError:
            return False

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self._filepath), "version": self._version}
