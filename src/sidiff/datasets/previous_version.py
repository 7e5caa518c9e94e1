"""What an earlier run left behind, or nothing: the memory of an incremental stage."""

from __future__ import annotations

import logging
from pathlib import Path, PurePosixPath
from typing import Any, NoReturn, TypeVar

import fsspec
import polars as pl
from kedro.io import AbstractVersionedDataset, DatasetError
from kedro.io.core import (
    Version,
    VersionNotFoundError,
    get_filepath_str,
    get_protocol_and_path,
)

from sidiff.datasets.checksums import check
from sidiff.datasets.safetensors import Model, SafetensorsDataset
from sidiff.errors import SidiffError

logger = logging.getLogger(__name__)

T = TypeVar("T")


class _Previous(AbstractVersionedDataset[NoReturn, T | None]):
    """The latest stored version of something, ``None`` where there is none.

    A second, read-only name for the file of another data set. The node that makes
    the next version reads it through this name and reuses what is still right;
    Kedro sees no cycle.
    """

    def __init__(
        self,
        filepath: str,
        version: Version | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> None:
        protocol, path = get_protocol_and_path(filepath, version)
        self._protocol = protocol
        self._fs = fsspec.filesystem(protocol)
        self.metadata = metadata
        super().__init__(
            filepath=PurePosixPath(path),
            version=version,
            exists_function=self._fs.exists,
            glob_function=self._fs.glob,
        )

    def load(self) -> T | None:
        """Read the latest version; ``None`` if there is none that can be used."""
        try:
            path = get_filepath_str(self._get_load_path(), self._protocol)
        except VersionNotFoundError:
            return None
        try:
            return self._read(path)
        except (OSError, DatasetError, SidiffError, pl.exceptions.PolarsError) as error:
            logger.warning("%s cannot be read and is ignored: %s", path, error)
            return None

    def save(self, data: NoReturn) -> None:
        """Refuse: versions are written under the data set's own name.

        Raises:
            DatasetError: always.
        """
        raise DatasetError(f"{self._filepath} is read-only under this name")

    def _read(self, path: str) -> T | None:
        raise NotImplementedError

    def _exists(self) -> bool:
        # No earlier version is as good an answer as any, so nothing is ever missing.
        return True

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self._filepath), "version": self._version}


class PreviousVersion(_Previous[pl.DataFrame]):
    """The latest stored version of a Parquet table, ``None`` where there is none."""

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
        self._columns = columns
        super().__init__(filepath, version, metadata)

    def _read(self, path: str) -> pl.DataFrame | None:
        if self._protocol == "file":
            check(Path(path))
        with self._fs.open(path, "rb") as file:
            frame = pl.read_parquet(file)
        return frame if set(self._columns) <= set(frame.columns) else None


class PreviousModel(_Previous[Model]):
    """The latest stored version of a ``SafetensorsDataset`` of numpy arrays.

    ``None`` where there is none. Its file and description must belong together, as
    under the data set's own name; a damaged pair counts as none.
    """

    def __init__(
        self,
        filepath: str,
        version: Version | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> None:
        """Name the pair.

        Args:
            filepath: path or fsspec address of the ``.safetensors`` file.
            version: set by Kedro.
            metadata: for plugins, ignored here.
        """
        super().__init__(filepath, version, metadata)

    def _read(self, path: str) -> Model | None:
        address = path if "://" in path else f"{self._protocol}://{path}"
        return SafetensorsDataset(address).load()
