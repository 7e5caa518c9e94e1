"""Versioned folders, whole or absent: bundles, and tables in partitions."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from sidiff.datasets.versions import Loaded, Saved, StoredFile
from sidiff.folders import MANIFEST, local_folder

if TYPE_CHECKING:
    from sidiff.serving.bundle import Bundle


class StoredFolder(StoredFile[Saved, Loaded]):
    """A versioned folder with a manifest; arguments as of ``StoredFile``."""

    @contextmanager
    def stored_file(self) -> Iterator[Path]:
        """Name a folder on this machine with what the running session stored.

        Raises:
            StorageError: the store cannot be read.
        """
        with local_folder(self._fs, self._place(self._save_path())) as copy:
            yield copy

    def _version_at(self, path: PurePosixPath) -> PurePosixPath | None:
        # A folder without a manifest is not complete.
        return super()._version_at(path.parent) if path.name == MANIFEST else None

    def _is_there(self, path: PurePosixPath) -> bool:
        return super()._is_there(path / MANIFEST)


class BundleDataset(StoredFolder["Bundle", "Bundle"]):
    """A trained network, ready to recommend: ``sidiff.serving.bundle``."""

    def load(self) -> Bundle:
        """Read the bundle.

        Raises:
            SidiffError: it is damaged or of another release, or the store cannot be
                read.
        """
        from sidiff.serving.bundle import Bundle  # noqa: PLC0415 (imports torch)

        with local_folder(self._fs, self._place(self._get_load_path())) as folder:
            return Bundle.read(folder)

    def save(self, data: Bundle) -> None:
        """Write the bundle.

        Raises:
            SidiffError: the disk is full or the store refuses; there is no new
                version then.
        """
        data.write(self._place(self._get_save_path()), self._fs)
