"""Snapshots of unfinished work, from which the same work goes on after a crash.

A snapshot is one file on a disk or in an object store: the SHA-256 of the rest of the
file, then arrays in the format of safetensors, one of them the metadata as JSON. It
replaces the one before it only when it is whole, so there always is a last good one.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

import numpy as np
from fsspec.implementations.local import LocalFileSystem
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from sidiff.storage import address_of, atomic_object, is_local, read_bytes, store_errors

logger = logging.getLogger(__name__)

T = TypeVar("T")

ENDING = ".snapshot"
_ABSENT = (FileNotFoundError, NotADirectoryError)
_DIGEST_BYTES = 32
_METADATA = "__description__"
"""Name of the array with the metadata: a header holds 100 MB at most."""


@dataclass(frozen=True)
class Snapshot:
    """A piece of work at one moment.

    Attributes:
        arrays: by name, of any shape and type that safetensors knows.
        metadata: everything else, as JSON knows it (and NaN and infinities).
    """

    arrays: dict[str, NDArray[Any]]
    metadata: dict[str, Any]


class SnapshotFolder:
    """Snapshots by name, in a folder that need not exist yet.

    Every method raises ``StorageError`` where the folder lies in a store that cannot
    be reached.
    """

    def __init__(self, path: Path, files: Any = None) -> None:
        """Name the folder; nothing is read or made before it is needed.

        Args:
            path: the folder, inside ``files``.
            files: the fsspec file system that holds it; None for this machine's.
        """
        self.path = path
        self.files = files or LocalFileSystem()
        self._used: set[str] = set()

    @property
    def location(self) -> Path:
        """The folder, as a process of another working folder finds it."""
        return self.path.absolute() if is_local(self.files) else self.path

    @property
    def address(self) -> str:
        """The folder as a person names it."""
        return address_of(self.files, self.path.as_posix())

    @property
    def used(self) -> list[str]:
        """Names of the snapshots that were read or written through this object."""
        return sorted(self._used)

    def adopt(self, names: Iterable[str]) -> None:
        """Count snapshots that another process used as used through this object."""
        self._used.update(names)

    def names(self) -> list[str]:
        """Names of the snapshots that are there, sorted."""
        folder = self.path.as_posix()
        self.files.invalidate_cache()
        try:
            with store_errors(self.files, folder):
                files = self.files.ls(folder, detail=False)
        except _ABSENT:
            return []
        paths = [PurePosixPath(file) for file in files]
        return sorted(path.stem for path in paths if path.suffix == ENDING)

    def read(self, name: str) -> Snapshot | None:
        """Return a snapshot, or None where there is none.

        A damaged one is set aside under another ending, with a warning.
        """
        file = self._file(name)
        try:
            content = read_bytes(self.files, file)
        except _ABSENT:
            return None
        self._used.add(name)
        try:
            return decode(content)
        except ValueError as error:
            aside = file.removesuffix(ENDING) + ".damaged"
            logger.warning(
                "%s is damaged (%s) and not used; it is now %s",
                address_of(self.files, file),
                error,
                PurePosixPath(aside).name,
            )
            with store_errors(self.files, file):
                self.files.mv(file, aside)
            return None

    def write(self, name: str, snapshot: Snapshot) -> None:
        """Put a snapshot in the place of the last one of this name.

        Raises:
            SidiffError: the disk is full or refuses; the last one is untouched.
        """
        self._used.add(name)
        with atomic_object(self.files, self._file(name)) as part:
            part.write_bytes(encode(snapshot))

    def clear(self) -> None:
        """Remove the snapshots that were read or written through this object.

        Those of other settings stay.
        """
        for name in self._used:
            file = self._file(name)
            with suppress(FileNotFoundError), store_errors(self.files, file):
                self.files.rm_file(file)
        self._used.clear()
        # Object stores have no folders. One that is not empty, or that another run
        # removes at this moment, is no error.
        if is_local(self.files):
            with suppress(OSError):
                self.path.rmdir()

    def _file(self, name: str) -> str:
        return (self.path / f"{name}{ENDING}").as_posix()


def encode(snapshot: Snapshot) -> bytes:
    """Return a snapshot as the content of a file."""
    text = json.dumps(snapshot.metadata).encode()
    metadata = np.frombuffer(text, dtype=np.uint8)
    content = save(snapshot.arrays | {_METADATA: metadata})
    return hashlib.sha256(content).digest() + content


def decode(content: bytes) -> Snapshot:
    """Undo ``encode``.

    Raises:
        ValueError: it is no snapshot, or not the one that was written.
    """
    digest, content = content[:_DIGEST_BYTES], content[_DIGEST_BYTES:]
    if hashlib.sha256(content).digest() != digest:
        raise ValueError("its SHA-256 differs from the one it begins with")
    try:
        arrays = load(content)
    except SafetensorError as error:
        raise ValueError(f"no safetensors file: {error}") from error
    if _METADATA not in arrays:
        raise ValueError("it has no metadata, as if of another version of sidiff")
    return Snapshot(arrays, json.loads(arrays.pop(_METADATA).tobytes()))


def below(name: str, named: Mapping[str, T]) -> dict[str, T]:
    """The entries whose names begin with ``NAME/``, by the rest of their names."""
    start = f"{name}/"
    return {
        key.removeprefix(start): value
        for key, value in named.items()
        if key.startswith(start)
    }
