"""Files on this machine or in an object store, by the same few calls.

``files`` is an fsspec file system, and a path is one inside it. What is written is
complete or absent: on a disk by a rename, in an object store because an object appears
when its upload is complete (not so on a file server such as sftp). Objects are written
as files below ``TMPDIR`` first, so that an error uploads nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import Any

from fsspec.implementations.local import LocalFileSystem

from sidiff.errors import SidiffError
from sidiff.files import atomic_file, disk_errors

_LOGIN = re.compile(r"(?<=://)[^\s'\"]*@")
_QUERY = re.compile(r"(?<=\w)(://[^\s?'\"]*)\?[^\s'\"]*[^\s'\".,;:)]")


class StorageError(SidiffError):
    """A failure of the store: not reachable, not permitted, no such bucket."""


def is_local(files: Any) -> bool:
    """Test that the file system is that of this machine."""
    return isinstance(files, LocalFileSystem)


def address_of(files: Any, path: str) -> str:
    """Return the path as a person names it, with the protocol of a store."""
    return path if is_local(files) else redacted(files.unstrip_protocol(path))


def redacted(text: str) -> str:
    """Return ``text`` without users, passwords and queries in its addresses."""
    return _QUERY.sub(r"\1?***", _LOGIN.sub("***@", text))


@contextmanager
def atomic_object(files: Any, path: str) -> Iterator[Path]:
    """Write a file or an object that readers see complete or not at all.

    Yields:
        Where to write it on this machine. It takes its place when the block ends
        without an error.

    Raises:
        SidiffError: the disk is full, or the store refuses; an older file is as it was.
    """
    if is_local(files):
        with atomic_file(Path(path)) as part:
            yield part
        return
    with TemporaryDirectory(prefix="sidiff-") as folder:
        part = Path(folder) / PurePosixPath(path).name
        with disk_errors(part):
            yield part
        with store_errors(files, path, absence=True):
            files.put_file(str(part), path)
        files.invalidate_cache(path)


@contextmanager
def local_copy(files: Any, path: str) -> Iterator[Path]:
    """Give a file on this machine with the content of ``path``.

    Raises:
        FileNotFoundError: the store has no such object.
        StorageError: the store cannot be read.
    """
    if is_local(files):
        yield Path(path)
        return
    with TemporaryDirectory(prefix="sidiff-") as folder:
        copy = Path(folder) / PurePosixPath(path).name
        download(files, path, copy)
        yield copy


def download(files: Any, path: str, target: Path) -> None:
    """Copy an object to a file of this machine; raises as ``local_copy``."""
    with store_errors(files, path):
        files.get_file(path, str(target))


def read_bytes(files: Any, path: str) -> bytes:
    """Return the content of a file or an object; raises as ``local_copy``."""
    with store_errors(files, path):
        return bytes(files.cat_file(path))


@contextmanager
def store_errors(files: Any, path: str, *, absence: bool = False) -> Iterator[None]:
    """Turn errors of a store into a ``StorageError``; those of a disk pass unchanged.

    Args:
        files: the file system.
        path: what is read or written in it.
        absence: include ``FileNotFoundError``, which is about the bucket when writing
            or listing, and about the object when reading.
    """
    try:
        yield
    # Each file system has errors of its own, not all of them an OSError.
    except Exception as error:
        if is_local(files) or (isinstance(error, FileNotFoundError) and not absence):
            raise
        raise StorageError(
            f"{address_of(files, path)} cannot be reached ({type(error).__name__}: "
            f"{error}): correct the address or the credentials (docs/deployment.md), "
            "or run the same command again when the store is back: what was stored "
            "before is untouched."
        ) from error
