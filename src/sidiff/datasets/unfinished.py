"""Unfinished work of earlier runs, for the node that goes on with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NoReturn

import fsspec
from kedro.io import AbstractDataset, DatasetError
from kedro.io.core import get_protocol_and_path

from sidiff.snapshots import SnapshotFolder


class UnfinishedWork(AbstractDataset[NoReturn, SnapshotFolder]):
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

    def save(self, data: NoReturn) -> None:
        """Refuse: the node writes into what it loaded.

        Raises:
            DatasetError: always.
        """
        raise DatasetError(f"{self._folder.path} is written while a node works")

    def _exists(self) -> bool:
        # No unfinished work is as good an answer as any, so nothing is ever missing.
        return True

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self._folder.path)}
