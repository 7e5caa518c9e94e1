"""Optional inputs: earlier versions of an output, and unfinished work.

A node that continues the work of an earlier run reads it through these data sets. An
earlier version is a second, read-only name of another data set's file, so Kedro sees no
cycle.
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
    """Mixin, before a data set, for inputs that may be absent and are never saved."""

    def save(self, data: Any) -> None:
        """Refuse.

        Raises:
            DatasetError: always.
        """
        raise DatasetError(f"{self} is read-only under this name")

    def _exists(self) -> bool:
        # `load` returns None or an empty folder if nothing is stored, so the input
        # always exists.
        return True


class Previous(OptionalInput, Stored):
    """Mixin for the latest stored version; ``None`` if there is none.

    Attributes:
        ignored: ``load`` returns None in any case.
    """

    ignored = False

    def load(self) -> Any:
        """Read the latest version; ``None`` if there is no usable one.

        Raises:
            StorageError: the store cannot be read.
        """
        if self.ignored:
            return None
        try:
            # Kedro wraps the `load` of data sets and changes its errors.
            return Stored.load(self)
        except VersionNotFoundError:
            return None
        except StorageError:
            raise
        except SidiffError as error:
            logger.warning("An earlier version is ignored: %s", error)
            return None

    def stamp(self) -> Stamp | None:
        """Read the stamp of the latest version; None if there is none."""
        try:
            return super().stamp()
        except VersionNotFoundError:
            return None


class PreviousVersion(Previous, StoredFile[NoReturn, pl.DataFrame | None]):
    """The latest stored version of a Parquet table; ``None`` if there is none."""

    def __init__(
        self,
        filepath: str,
        columns: list[str],
        version: Version | None = None,
        credentials: dict[str, Any] | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> None:
        """Name the table; a stored one that lacks one of ``columns`` is not usable."""
        self._columns = columns
        super().__init__(filepath, version, credentials, metadata)

    def _read(self, file: Path) -> pl.DataFrame | None:
        frame = pl.read_parquet(file, glob=False)
        return frame if set(self._columns) <= set(frame.columns) else None


class PreviousModel(Previous, SafetensorsDataset):
    """The latest stored version of a ``SafetensorsDataset`` of numpy arrays."""


class UnfinishedWork(OptionalInput, AbstractDataset[NoReturn, SnapshotFolder]):
    """A folder of snapshots that a node reads and writes while it works.

    Loading returns the folder, so that nodes contain no paths. Its content is not
    versioned, and the snapshots of a run are removed when it has succeeded.
    """

    def __init__(
        self,
        filepath: str,
        credentials: dict[str, Any] | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> None:
        """Name the folder by its path or fsspec address; it need not exist."""
        protocol, path = get_protocol_and_path(filepath)
        files = fsspec.filesystem(protocol, **(credentials or {}))
        self._folder = SnapshotFolder(Path(path), files)
        self.metadata = metadata

    def load(self) -> SnapshotFolder:
        """Return the folder."""
        return self._folder

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self._folder.path)}
