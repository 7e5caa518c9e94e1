"""The memory of an incremental stage: results of an earlier run, or nothing."""

from __future__ import annotations

import logging
from typing import Any, NoReturn, TypeVar

import polars as pl
from kedro.io import DatasetError
from kedro.io.core import Version, VersionNotFoundError

from sidiff.datasets.safetensors import Model, read_model
from sidiff.datasets.stamps import Stamp, checked_copy
from sidiff.datasets.versions import StoredFile
from sidiff.errors import SidiffError
from sidiff.storage import StorageError, address_of

logger = logging.getLogger(__name__)

T = TypeVar("T")


class _Previous(StoredFile[NoReturn, T | None]):
    """The latest stored version of something, ``None`` where there is none.

    A second, read-only name for the file of another data set. The node that makes
    the next version reads it through this name and reuses what is still right;
    Kedro sees no cycle.
    """

    def load(self) -> T | None:
        """Read the latest version; ``None`` if there is none that can be used.

        Raises:
            StorageError: the store cannot be read, which says nothing of the version.
        """
        try:
            self.resolve_load_version()
        except VersionNotFoundError:
            return None
        try:
            return self._read()
        except StorageError:
            raise
        except (OSError, SidiffError, pl.exceptions.PolarsError) as error:
            path = address_of(self._fs, self._place(self._get_load_path()))
            logger.warning("%s cannot be read and is ignored: %s", path, error)
            return None

    def save(self, data: NoReturn) -> None:
        """Refuse: versions are written under the data set's own name.

        Raises:
            DatasetError: always.
        """
        raise DatasetError(f"{self._filepath} is read-only under this name")

    def stamp(self) -> Stamp | None:
        """None: what is remembered need not be of what is made now."""
        return None

    def _read(self) -> T | None:
        raise NotImplementedError

    def _exists(self) -> bool:
        # No earlier version is as good an answer as any, so nothing is ever missing.
        return True


class PreviousVersion(_Previous[pl.DataFrame]):
    """The latest stored version of a Parquet table, ``None`` where there is none."""

    def __init__(
        self,
        filepath: str,
        columns: list[str],
        version: Version | None = None,
        credentials: dict[str, Any] | None = None,
        fs_args: dict[str, Any] | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> None:
        """Name the table.

        Args:
            filepath: path or fsspec address of the versioned Parquet file.
            columns: what a usable table has; another one counts as none.
            version: set by Kedro.
            credentials: for the file system.
            fs_args: more arguments of the file system.
            metadata: for plugins, ignored here.
        """
        self._columns = columns
        super().__init__(filepath, version, credentials, fs_args, metadata)

    def _read(self) -> pl.DataFrame | None:
        path = self._place(self._get_load_path())
        with checked_copy(self._fs, path) as file:
            frame = pl.read_parquet(file, glob=False)
        return frame if set(self._columns) <= set(frame.columns) else None


class PreviousModel(_Previous[Model]):
    """The latest stored version of a ``SafetensorsDataset`` of numpy arrays.

    ``None`` where there is none; a damaged one counts as none.
    """

    def _read(self) -> Model | None:
        return read_model(self._fs, self._place(self._get_load_path()), "numpy")
