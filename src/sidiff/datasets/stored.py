"""Versioned data sets: complete or absent, with a stamp that loading checks.

The stamp has the SHA-256 of the file and of the data sets that it was made of
(``sidiff.lineage``). It is next to the folder of the version, because Polars reads a
folder of Parquet files only if it has no other files.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from copy import copy
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import Any, Generic, NamedTuple, TypeVar

import fsspec
from fsspec.implementations.local import LocalFileSystem
from kedro.io import AbstractVersionedDataset, DatasetError
from kedro.io.core import (
    Version,
    VersionNotFoundError,
    get_filepath_str,
    get_protocol_and_path,
)
from polars.exceptions import PolarsError
from safetensors import SafetensorError

from sidiff.errors import SidiffError
from sidiff.fingerprints import of_file
from sidiff.storage import (
    address_of,
    atomic_object,
    local_copy,
    read_bytes,
    store_errors,
)

STAMP = ".stamp.json"
"""Ending of a stamp, after the version."""

Saved = TypeVar("Saved")
Loaded = TypeVar("Loaded")


class Stamp(NamedTuple):
    """Digests of a stored file and its ancestors."""

    sha256: str
    made_of: dict[str, str]
    """SHA-256 of all data sets that it was made of, direct and indirect, by name."""


class Stored:
    """Mixin, before a versioned data set with ``_fs`` and ``_protocol``.

    It makes the versions of Kedro's data sets atomic. These write in place, so a crash
    leaves half a file as the latest version. So does an error in an object store, where
    closing half a file uploads it.
    """

    _fs: Any
    _protocol: str
    _filepath: PurePosixPath
    _version: Version | None
    _get_load_path: Any
    _get_versioned_path: Any
    resolve_save_version: Any

    made_of: Mapping[str, str] = MappingProxyType({})
    """Ancestors of the version that this run stores, see ``Stamp``."""
    sha256 = ""
    """SHA-256 of the version that this run stored."""

    def load(self) -> Any:
        """Read the stored data.

        Raises:
            SidiffError: the file or the store cannot be read, or the SHA-256 differs
                from the stamp.
        """
        path = self._place(self._get_load_path())
        try:
            with self._checked(path) as file:
                return self._read(file)
        except (OSError, ValueError, PolarsError, SafetensorError) as error:
            reason = getattr(error, "strerror", None) or str(error).strip()
            raise SidiffError(
                f"{address_of(self._fs, path)} cannot be read "
                f"({reason.partition(chr(10))[0].rstrip('.')}); run the stage that "
                "writes it again, or choose another version with --load-versions."
            ) from error

    def save(self, data: Any) -> None:
        """Store ``data`` atomically, with a stamp.

        Raises:
            SidiffError: the disk or the store refuses it; no version is created.
        """
        path = self._place(self._get_save_path())
        with atomic_object(self._fs, path) as part:
            self._write(part, data)
            stamp = Stamp(of_file(part), dict(self.made_of))
            with atomic_object(self._fs, self._stamp_path(path)) as stamped:
                stamped.write_text(json.dumps(stamp._asdict(), indent=2) + "\n")
        self.sha256 = stamp.sha256

    def _read(self, file: Path) -> Any:
        """Read a file of this machine."""
        inner: Any = super()
        # Avoid Kedro's wrapper, which resolves a version; `_write` does the same.
        return inner.load.__wrapped__(self._at(file))

    def _write(self, file: Path, data: Any) -> None:
        """Write ``data`` to a file of this machine."""
        inner: Any = super()
        inner.save.__wrapped__(self._at(file), data)

    def _at(self, file: Path) -> Any:
        """Return this data set, unversioned, for a file of this machine."""
        here = copy(self)
        here._fs, here._protocol = LocalFileSystem(), "file"
        here._filepath, here._version = PurePosixPath(file), None
        return here

    @contextmanager
    def _checked(self, path: str) -> Iterator[Path]:
        """Provide ``path`` as a file of this machine, checked against its stamp."""
        with local_copy(self._fs, path) as file:
            self._check(path, file)
            yield file

    def _check(self, path: str, file: Path) -> None:
        """Compare ``file`` with the stamp of ``path``, if any."""
        stamp = self._stamp_of(path)
        if stamp is not None and stamp.sha256 != of_file(file):
            raise SidiffError(
                f"{address_of(self._fs, path)} is damaged: its SHA-256 differs from "
                f"the one in {PurePosixPath(self._stamp_path(path)).name}; run the "
                "stage that writes it again, or choose another version with "
                "--load-versions."
            )

    def _stamp_path(self, path: str) -> str:
        version_folder = path.rpartition("/")[0]
        return (version_folder if self._version else path) + STAMP

    def _stamp_of(self, path: str) -> Stamp | None:
        try:
            stamp = read_bytes(self._fs, self._stamp_path(path))
            return Stamp(**json.loads(stamp))
        except FileNotFoundError:
            return None
        except (ValueError, TypeError):
            return Stamp("damaged", {})

    def stamp(self) -> Stamp | None:
        """Read the stamp of the version that this run reads; None without one."""
        return self._stamp_of(self._place(self._get_load_path()))

    def address(self) -> str:
        """Return the path or address of the folder of all versions."""
        return address_of(self._fs, self._place(self._filepath))

    def stored_address(self) -> str:
        """Return the path or address of the version that this run stores."""
        return address_of(self._fs, self._place(self._save_path()))

    def loaded_address(self) -> str:
        """Return the path or address of the version that this run reads."""
        return address_of(self._fs, self._place(self._get_load_path()))

    def stored_size(self) -> int:
        """Return the bytes of the version that this run stored."""
        return int(self._fs.size(self._place(self._save_path())))

    def is_stored(self) -> bool:
        """Test that this run has stored a version."""
        return self._is_there(self._save_path())

    @contextmanager
    def stored_file(self) -> Iterator[Path]:
        """Provide the version that this run stored, as a file of this machine."""
        with local_copy(self._fs, self._place(self._save_path())) as copied:
            yield copied

    def _get_versions(self) -> list[str]:
        """List the paths of the stored versions, the latest first.

        Kedro's method sends a request per version, uses the cached listing of fsspec,
        and treats an unreachable store as empty, so a stage would fit again instead of
        extending.

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
        """Return the version that a found file marks as complete, or None."""
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
        try:
            return self._is_there(self._get_load_path())
        except VersionNotFoundError:
            return False

    def _is_there(self, path: PurePosixPath) -> bool:
        place = self._place(path)
        with store_errors(self._fs, place):
            return bool(self._fs.exists(place))

    def _save_path(self) -> PurePosixPath:
        if not self._version:
            return self._filepath
        return PurePosixPath(self._get_versioned_path(self.resolve_save_version()))

    def _place(self, path: PurePosixPath) -> str:
        return get_filepath_str(path, self._protocol)


class StoredFile(
    Stored, AbstractVersionedDataset[Saved, Loaded], Generic[Saved, Loaded]
):
    """Base class of versioned files, on a disk or in an object store."""

    def __init__(
        self,
        filepath: str,
        version: Version | None = None,
        credentials: dict[str, Any] | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> None:
        """Name the file by its path or fsspec address; ``metadata`` is for plugins."""
        self._protocol, path = get_protocol_and_path(filepath, version)
        self._fs = fsspec.filesystem(self._protocol, **(credentials or {}))
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
