"""Files that are complete or absent: temporary file, fsync, rename."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from sidiff.errors import SidiffError

UNFINISHED = ".part"
"""Ending of a file that is being written; one left by a crash is written over."""


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Write a file that readers see complete or not at all.

    Args:
        path: the final file; missing folders are made, an older file is replaced.

    Yields:
        Where to write it. It takes its place when the block ends without an error.

    Raises:
        SidiffError: the disk is full or refuses; an older file is as it was.
    """
    part = path.with_name(path.name + UNFINISHED)
    try:
        with disk_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            yield part
            sync(part)
            part.replace(path)
            sync(path.parent)
    except BaseException:
        with suppress(OSError):
            part.unlink()
        raise


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn an ``OSError`` into a ``SidiffError`` that says what to do."""
    try:
        yield
    except OSError as error:
        raise SidiffError(
            f"{path} cannot be written ({error.strerror or error}); free some space or "
            "give sidiff the right to write there, and run the same command again: "
            "what was stored before is untouched."
        ) from error


def sync(path: Path) -> None:
    """Synchronise a file, or the names in a folder, to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
