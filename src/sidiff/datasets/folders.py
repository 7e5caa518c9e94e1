"""Versioned folders, complete or absent: bundles, and partitioned tables."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from shutil import copytree
from tempfile import mkdtemp
from typing import TYPE_CHECKING

import polars as pl

from sidiff.datasets.stored import Loaded, Saved, StoredFile
from sidiff.datasets.streamed_parquet import session_copies
from sidiff.folders import MANIFEST, local_folder, read_manifest, whole_folder
from sidiff.storage import is_local

if TYPE_CHECKING:
    from sidiff.serving.bundle import Bundle

TABLE = "table in partitions"
"""The ``kind`` in the manifest of a partitioned table."""


class StoredFolder(StoredFile[Saved, Loaded]):
    """A versioned folder with a manifest, which marks it as complete.

    Arguments are those of ``StoredFile``.
    """

    @contextmanager
    def stored_file(self) -> Iterator[Path]:
        """Provide the folder that this run stored, on this machine."""
        with local_folder(self._fs, self._place(self._save_path())) as copy:
            yield copy

    def _version_at(self, path: PurePosixPath) -> PurePosixPath | None:
        return super()._version_at(path.parent) if path.name == MANIFEST else None

    def _is_there(self, path: PurePosixPath) -> bool:
        return super()._is_there(path / MANIFEST)


class BundleDataset(StoredFolder["Bundle", "Bundle"]):
    """A bundle for serving, see ``sidiff.serving.bundle``."""

    def load(self) -> Bundle:
        """Read the bundle.

        Raises:
            SidiffError: the bundle is damaged or of another release, or the store
                cannot be read.
        """
        from sidiff.serving.bundle import Bundle  # noqa: PLC0415 (imports torch)

        with local_folder(self._fs, self._place(self._get_load_path())) as folder:
            return Bundle.read(folder)

    def save(self, data: Bundle) -> None:
        """Write the bundle.

        Raises:
            SidiffError: the disk or the store refuses it; no version is created.
        """
        data.write(self._place(self._get_save_path()), self._fs)


class PartitionedParquet(
    StoredFolder[Iterator[tuple[str, pl.DataFrame]], pl.LazyFrame]
):
    """A table in several Parquet files, written one after the other.

    Saving takes an iterator of names and frames; loading scans all files.
    """

    def load(self) -> pl.LazyFrame:
        """Scan the rows, file by file in the order of their names.

        Raises:
            SidiffError: a file is damaged or missing, or the store cannot be read.
        """
        path = self._place(self._get_load_path())
        if is_local(self._fs):
            folder = Path(path)
        else:
            # The lazy frame reads the copy after this method.
            folder = Path(mkdtemp(dir=session_copies()))
            with local_folder(self._fs, path) as copy:
                copytree(copy, folder, dirs_exist_ok=True)
        read_manifest(folder, TABLE, "run the stage that writes it again")
        return pl.scan_parquet(sorted(folder.glob("*.parquet")), glob=False)

    def save(self, data: Iterator[tuple[str, pl.DataFrame]]) -> None:
        """Write the parts.

        Raises:
            SidiffError: the disk or the store refuses it; no version is created.
        """
        place = self._place(self._get_save_path())
        with whole_folder(self._fs, place, {"kind": TABLE}) as part:
            for name, frame in data:
                frame.write_parquet(part / f"{name}.parquet")
