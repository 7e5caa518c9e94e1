"""The memory of an incremental stage: results of an earlier run, or nothing."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any, NoReturn

import polars as pl
from kedro.io import DatasetError
from kedro.io.core import Version, VersionNotFoundError

from sidiff.datasets.safetensors import SafetensorsDataset
from sidiff.datasets.stored import Stamp, Stored, StoredFile
from sidiff.errors import SidiffError
from sidiff.storage import StorageError

logger = logging.getLogger(__name__)


class _Previous(Stored):
    """The latest stored version of something, ``None`` where there is none.

    A second, read-only name for the file of another data set. The node that makes
    the next version reads it through this name and reuses what is still right;
    Kedro sees no cycle.
    """

    def load(self) -> Any:
        """Read the latest version; ``None`` if there is none that can be used.

        Raises:
            StorageError: the store cannot be read, which says nothing of the version.
        """
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

    def save(self, data: Any) -> None:
        """Refuse: versions are written under the data set's own name.

        Raises:
            DatasetError: always.
        """
        raise DatasetError(f"{self._filepath} is read-only under this name")

    def stamp(self) -> Stamp | None:
        """None: what is remembered need not be of what is made now."""
        return None

    def _exists(self) -> bool:
        # No earlier version is as good an answer as any, so nothing is ever missing.
        return True


class PreviousVersion(_Previous, StoredFile[NoReturn, pl.DataFrame | None]):
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


class PreviousModel(_Previous, SafetensorsDataset):
    """The latest stored version of a ``SafetensorsDataset`` of numpy arrays."""
