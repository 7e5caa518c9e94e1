"""Snapshots of unfinished work, from which it resumes after a crash.

A snapshot is one file on a disk or in an object store: the SHA-256 of the rest of the
file, then safetensors, in which one array is the metadata as JSON. It replaces its
predecessor only when it is complete, so there is always a good one.
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
"""Name of the array with the metadata: a header is limited to 100 MB."""


@dataclass(frozen=True)
class Snapshot:
    """State of a piece of work.

    Attributes:
        arrays: arrays by name, of any type of safetensors.
        metadata: further values as JSON, with NaN and infinities.
    """

    arrays: dict[str, NDArray[Any]]
    metadata: dict[str, Any]


class SnapshotFolder:
    """Snapshots by name, in a folder that need not exist yet.

    Every method raises ``StorageError`` if the store cannot be reached.
    """

    def __init__(self, path: Path, files: Any = None) -> None:
        """Name the folder; nothing is read or created yet.

        Args:
            path: the folder in ``files``.
            files: an fsspec file system; None for this machine's.
        """
        self.path = path
        self.files = files or LocalFileSystem()
        self._used: set[str] = set()

    @property
    def location(self) -> Path:
        """The folder, for processes with another working folder."""
        return self.path.absolute() if is_local(self.files) else self.path

    @property
    def address(self) -> str:
        """Path or address of the folder, for messages."""
        return address_of(self.files, self.path.as_posix())

    @property
    def used(self) -> list[str]:
        """Names of the snapshots that this object has read or written."""
        return sorted(self._used)

    def adopt(self, names: Iterable[str]) -> None:
        """Add snapshots that another process has used to ``used``."""
        self._used.update(names)

    def names(self) -> list[str]:
        """List the names of the stored snapshots, sorted."""
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
        """Read a snapshot; None if there is none.

        A damaged snapshot is renamed, with a warning.
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
        """Replace the snapshot of this name.

        Raises:
            SidiffError: the disk refuses it; the old snapshot is unchanged.
        """
        self._used.add(name)
        with atomic_object(self.files, self._file(name)) as part:
            part.write_bytes(encode(snapshot))

    def clear(self) -> None:
        """Remove the ``used`` snapshots; others stay."""
        for name in self._used:
            file = self._file(name)
            with suppress(FileNotFoundError), store_errors(self.files, file):
                self.files.rm_file(file)
        self._used.clear()
        # Object stores have no folders. The folder may not be empty, or another run may
        # remove it at the same time.
        if is_local(self.files):
            with suppress(OSError):
                self.path.rmdir()

    def _file(self, name: str) -> str:
        return (self.path / f"{name}{ENDING}").as_posix()


def encode(snapshot: Snapshot) -> bytes:
    """Encode a snapshot as the content of a file."""
    text = json.dumps(snapshot.metadata).encode()
    metadata = np.frombuffer(text, dtype=np.uint8)
    content = save(snapshot.arrays | {_METADATA: metadata})
    return hashlib.sha256(content).digest() + content


def decode(content: bytes) -> Snapshot:
    """Decode the content of a file.

    Raises:
        ValueError: the content is damaged or is not a snapshot.
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
    """Select the entries whose names begin with ``NAME/``, by the rest of the name."""
    start = f"{name}/"
    return {
        key.removeprefix(start): value
        for key, value in named.items()
        if key.startswith(start)
    }
