"""The common part of versioned data sets: their versions and places."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import Any, Generic, TypeVar

import fsspec
from kedro.io import AbstractVersionedDataset, DatasetError
from kedro.io.core import (
    Version,
    VersionNotFoundError,
    get_filepath_str,
    get_protocol_and_path,
)

from sidiff.datasets.stamps import Stamp, read_stamp, write_stamp
from sidiff.storage import address_of, local_copy, store_errors

Saved = TypeVar("Saved")
Loaded = TypeVar("Loaded")


class Stored:
    """Mixin before a versioned data set that has ``_fs`` and ``_protocol``."""

    _fs: Any
    _protocol: str
    _filepath: PurePosixPath
    _version: Version | None

    made_of: Mapping[str, str] = MappingProxyType({})
    """What the running session makes it of, see ``Stamp``."""
    sha256 = ""
    """Of what the running session stored."""

    def stamp(self) -> Stamp | None:
        """The stamp of what the running session reads under this name.

        Raises:
            StorageError: the store cannot be read.
        """
        mine: Any = self
        return read_stamp(self._fs, self._place(mine._get_load_path()))

    def write_stamp(self, path: str, part: Path) -> None:
        """Write the stamp of ``part``, which is to become ``path``."""
        self.sha256 = write_stamp(self._fs, path, part, self.made_of)

    def address(self) -> str:
        """Path or address below which all versions lie."""
        return address_of(self._fs, self._place(self._filepath))

    def stored_address(self) -> str:
        """Path or address of what the running session stores under this name."""
        return address_of(self._fs, self._place(self._save_path()))

    def loaded_address(self) -> str:
        """Path or address of what the running session reads under this name."""
        mine: Any = self
        return address_of(self._fs, self._place(mine._get_load_path()))

    def stored_size(self) -> int:
        """Bytes of what the running session stored."""
        return int(self._fs.size(self._place(self._save_path())))

    def is_stored(self) -> bool:
        """Test that the running session has stored something under this name.

        Raises:
            StorageError: the store cannot be read.
        """
        return self._is_there(self._save_path())

    @contextmanager
    def stored_file(self) -> Iterator[Path]:
        """Name a file on this machine with what the running session stored.

        Raises:
            StorageError: the store cannot be read.
        """
        with local_copy(self._fs, self._place(self._save_path())) as copy:
            yield copy

    def _get_versions(self) -> list[str]:
        """Return the stored versions' paths, the latest first.

        Kedro's own asks a store once per version, takes what fsspec remembers of an
        earlier listing, and counts an unreachable store as an empty one: for a stage
        that extends what is there, a reason to begin anew.

        Raises:
            StorageError: the store cannot be listed.
        """
        folder = self._place(self._filepath)
        self._fs.invalidate_cache()
        with store_errors(self._fs, folder, absence=True):
            found = self._fs.find(folder)
        versions = [self._version_at(PurePosixPath(path)) for path in found]
        return sorted((str(path) for path in versions if path), reverse=True)

    def _version_at(self, path: PurePosixPath) -> PurePosixPath | None:
        """The version that a file found in the store makes; None if it makes none."""
        name = self._filepath.name
        return path if path.name == path.parent.parent.name == name else None

    def _get_save_path(self) -> PurePosixPath:
        path = self._save_path()
        if self._version and self._is_there(path):
            raise DatasetError(
                f"{address_of(self._fs, self._place(path))} must not exist: a version "
                "is written once."
            )
        return path

    def _exists(self) -> bool:
        mine: Any = self
        try:
            return self._is_there(mine._get_load_path())
        except VersionNotFoundError:
            return False

    def _is_there(self, path: PurePosixPath) -> bool:
        place = self._place(path)
        with store_errors(self._fs, place):
            return bool(self._fs.exists(place))

    def _save_path(self) -> PurePosixPath:
        mine: Any = self
        if not self._version:
            return self._filepath
        return PurePosixPath(mine._get_versioned_path(mine.resolve_save_version()))

    def _place(self, path: PurePosixPath) -> str:
        return get_filepath_str(path, self._protocol)


class StoredFile(
    Stored, AbstractVersionedDataset[Saved, Loaded], Generic[Saved, Loaded]
):
    """A versioned file of our own, on a disk or in an object store."""

    def __init__(
        self,
        filepath: str,
        version: Version | None = None,
        credentials: dict[str, Any] | None = None,
        fs_args: dict[str, Any] | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> None:
        """Name the file.

        Args:
            filepath: path or fsspec address.
            version: set by Kedro.
            credentials: for the file system.
            fs_args: more arguments of the file system.
            metadata: for plugins, ignored here.
        """
        self._protocol, path = get_protocol_and_path(filepath, version)
        options = (credentials or {}) | (fs_args or {})
        self._fs = fsspec.filesystem(self._protocol, **options)
        self.metadata = metadata
        super().__init__(
            filepath=PurePosixPath(path),
            version=version,
            exists_function=self._fs.exists,
            glob_function=self._fs.glob,
        )

    def _describe(self) -> dict[str, Any]:
        return {
            "filepath": str(self._filepath),
            "protocol": self._protocol,
            "version": self._version,
        }
