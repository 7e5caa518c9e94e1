"""The SHA-256 of a stored file, in a file beside it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

from polars.exceptions import PolarsError
from safetensors import SafetensorError

from sidiff.errors import SidiffError
from sidiff.storage import address_of, local_copy, read_bytes, whole_object

CHECKSUM = ".sha256"
"""Ending of the file beside a stored one; ``sha256sum --check`` understands it."""


def write_checksum(files: Any, path: str, part: Path) -> None:
    """Write the checksum of ``part``, which is to become ``path`` of ``files``.

    Raises:
        SidiffError: the disk is full or the store refuses.
    """
    with whole_object(files, path + CHECKSUM) as checksum:
        checksum.write_text(f"{_digest(part)}  {PurePosixPath(path).name}\n")


def read_checksum(files: Any, path: str) -> str | None:
    """Return the checksum of a stored file; None where it has none.

    Raises:
        StorageError: the store cannot be read.
    """
    try:
        words = read_bytes(files, path + CHECKSUM).decode().split()
    except FileNotFoundError:
        return None
    return words[0] if words else ""


def check(files: Any, path: str, copy: Path) -> None:
    """Compare a file of this machine with the checksum of ``path``, if there is one.

    Raises:
        SidiffError: they differ.
    """
    checksum = read_checksum(files, path)
    if checksum is not None and copy.is_file() and checksum != _digest(copy):
        raise SidiffError(
            f"{address_of(files, path)} is damaged: its SHA-256 differs from the one "
            f"in {PurePosixPath(path).name}{CHECKSUM}; run the stage that writes it "
            "again, or choose another version with --load-versions."
        )


@contextmanager
def checked_copy(files: Any, path: str) -> Iterator[Path]:
    """Name a file on this machine with the content of ``path``, after a check.

    Raises:
        SidiffError: it is not what was stored, or the store cannot be read.
        FileNotFoundError: the store has no such object.
    """
    with local_copy(files, path) as copy:
        check(files, path, copy)
        yield copy


@contextmanager
def read_errors(path: str) -> Iterator[None]:
    """Say in one sentence that a stored file cannot be read.

    Raises:
        SidiffError: in the place of what reading it raised.
    """
    try:
        yield
    except (OSError, ValueError, PolarsError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or str(error).strip()
        raise SidiffError(
            f"{path} cannot be read ({reason.partition(chr(10))[0].rstrip('.')}); run "
            "the stage that writes it again, or choose another version with "
            "--load-versions."
        ) from error


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
