"""What an earlier run left behind, or nothing: the memory of an incremental stage."""

from __future__ import annotations

import logging
from pathlib import PurePosixPath
from typing import Any, NoReturn

import fsspec
import polars as pl
from kedro.io import AbstractVersionedDataset, DatasetError
from kedro.io.core import (
    Version,
    VersionNotFoundError,
    get_filepath_str,
    get_protocol_and_path,
)

logger = logging.getLogger(__name__)


class PreviousVersion(AbstractVersionedDataset[NoReturn, "pl.DataFrame | None"]):
    """The latest stored version of a Parquet table, ``None`` where there is none.

    A second, read-only name for the file of another data set. The node that makes
    the next version reads it through this name and reuses what is still right;
    Kedro sees no cycle.
    """

    def __init__(
        self,
        filepath: str,
        columns: list[str],
        version: Version | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> None:
        """Name the table.

        Args:
            filepath: path or fsspec address of the versioned Parquet file.
            columns: what a usable table has; another one counts as none.
            version: set by Kedro.
            metadata: for plugins, ignored here.
        """
        protocol, path = get_protocol_and_path(filepath, version)
        self._protocol = protocol
        self._fs = fsspec.filesystem(protocol)
        self._columns = columns
        self.metadata = metadata
        super().__init__(
            filepath=PurePosixPath(path),
            version=version,
            exists_function=self._fs.exists,
            glob_function=self._fs.glob,
        )

    def load(self) -> pl.DataFrame | None:
        """Read the latest version; ``None`` if there is none that can be used."""
        try:
            path = get_filepath_str(self._get_load_path(), self._protocol)
        except VersionNotFoundError:
            return None
        try:
            with self._fs.open(path, "rb") as file:
                frame = pl.read_parquet(file)
        except (OSError, pl.exceptions.PolarsError) as error:
            logger.warning("%s cannot be read and is ignored: %s", path, error)
            return None
        return frame if set(self._columns) <= set(frame.columns) else None

    def save(self, data: NoReturn) -> None:
        """Refuse: versions are written through the table's own name.

        Raises:
            DatasetError: always.
        """
        raise DatasetError(f"{self._filepath} is read-only under this name")

    def _exists(self) -> bool:
        # No earlier version is as good an answer as any, so nothing is ever missing.
        return True

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self._filepath), "version": self._version}
