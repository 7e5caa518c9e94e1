"""Inputs that may be empty: earlier versions of an output, and unfinished work.

A node that goes on with what an earlier run left reads it through these data sets. An
earlier version is a second, read-only name for the file of another data set: Kedro sees
no cycle.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any, NoReturn

import fsspec
import polars as pl
from kedro.io import AbstractDataset, DatasetError
from kedro.io.core import Version, VersionNotFoundError, get_protocol_and_path

from sidiff.datasets.safetensors import SafetensorsDataset
from sidiff.datasets.stored import Stamp, Stored, StoredFile
from sidiff.errors import SidiffError
from sidiff.snapshots import SnapshotFolder
from sidiff.storage import StorageError

logger = logging.getLogger(__name__)


class OptionalInput:
    """Mixin before a data set that may be empty and is never saved."""

    def save(self, data: Any) -> None:
        """Refuse.

        Raises:
            DatasetError: always.
        """
        raise DatasetError(f"{self} is read-only under this name")

    def _exists(self) -> bool:
        # `load` returns None (or an empty folder) when there is no version, so this
        # input always exists.
        return True


class Previous(OptionalInput, Stored):
    """The latest stored version of something, ``None`` where there is none.

    Attributes:
        ignored: ``load`` returns None, whatever is stored.
    """

    ignored = False

    def load(self) -> Any:
        """Read the latest version; ``None`` if there is none that can be used.

        Raises:
            StorageError: the store cannot be read, which says nothing of the version.
        """
        if self.ignored:
            return None
        try:
            # Not that of a data set, which Kedro has wrapped: it changes the errors.
            return Stored.load(self)
        except VersionNotFoundError:
            return None
        except StorageError:
            raise
        except SidiffError as error:
            logger.warning("An earlier version is ignored: %s", error)
            return None

    def stamp(self) -> Stamp | None:
        """The stamp of the latest version; None where there is none."""
        try:
            return super().stamp()
        except VersionNotFoundError:
            return None


class PreviousVersion(Previous, StoredFile[NoReturn, pl.DataFrame | None]):
    """The latest stored version of a Parquet table, ``None`` where there is none."""

    def __init__(
        self,
        filepath: str,
        columns: list[str],
        version: Version | None = None,
        credentials: dict[str, Any] | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> None:
        """Name the table; ``columns`` are those of a usable one, else it is none."""
        self._columns = columns
        super().__init__(filepath, version, credentials, metadata)

    def _read(self, file: Path) -> pl.DataFrame | None:
        frame = pl.read_parquet(file, glob=False)
        return frame if set(self._columns) <= set(frame.columns) else None


class PreviousModel(Previous, SafetensorsDataset):
    """The latest stored version of a ``SafetensorsDataset`` of numpy arrays."""


class UnfinishedWork(OptionalInput, AbstractDataset[NoReturn, SnapshotFolder]):
    """A folder of snapshots that a node reads and writes while it works.

    Loading gives the folder, so that the node stays free of paths. Nothing in it is a
    result: it is never versioned, and what a run used of it is removed when that run
    has ended well.
    """

    def __init__(
        self,
        filepath: str,
        credentials: dict[str, Any] | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> None:
        """Name the folder by its path or fsspec address; it is made when needed."""
        protocol, path = get_protocol_and_path(filepath)
        files = fsspec.filesystem(protocol, **(credentials or {}))
        self._folder = SnapshotFolder(Path(path), files)
        self.metadata = metadata

    def load(self) -> SnapshotFolder:
        """Return the folder."""
        return self._folder

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self._folder.path)}
