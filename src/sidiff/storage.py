"""Files on this machine or in an object store.

``files`` is an fsspec file system, and ``path`` a path in it. Written files are
complete or absent: on a disk by a rename, in an object store because an object appears
when its upload is complete (which is not true for file servers such as sftp). Objects
are first written as files below ``TMPDIR``, so that an error uploads nothing.
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
    """A store that is not reachable, refuses access, or has no such bucket."""


def is_local(files: Any) -> bool:
    """Test that the file system is that of this machine."""
    return isinstance(files, LocalFileSystem)


def address_of(files: Any, path: str) -> str:
    """Return the path for messages, with the protocol of a store."""
    return path if is_local(files) else redacted(files.unstrip_protocol(path))


def redacted(text: str) -> str:
    """Remove users, passwords and queries from the addresses in a text."""
    return _QUERY.sub(r"\1?***", _LOGIN.sub("***@", text))


@contextmanager
def atomic_object(files: Any, path: str) -> Iterator[Path]:
    """Write a file or an object that readers see complete or not at all.

    Yields:
        The file of this machine to write. It replaces ``path`` when the block ends
        without an error.

    Raises:
        SidiffError: the disk or the store refuses it; an older file is unchanged.
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
    """Provide a file on this machine with the content of ``path``.

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
    """Turn errors of a store into a ``StorageError``; disk errors pass unchanged.

    Args:
        files: an fsspec file system.
        path: the path in it that is read or written.
        absence: include ``FileNotFoundError``. When writing or listing it means a
            missing bucket, when reading a missing object.
    """
    try:
        yield
    # Every file system has its own errors, which need not be an OSError.
    except Exception as error:
        if is_local(files) or (isinstance(error, FileNotFoundError) and not absence):
            raise
        raise StorageError(
            f"{address_of(files, path)} cannot be reached ({type(error).__name__}: "
            f"{error}): correct the address or the credentials (docs/deployment.md), "
            "or run the same command again when the store is back: what was stored "
            "before is untouched."
        ) from error
