"""Files that are complete or absent, by temporary file, fsync and rename."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from sidiff.errors import SidiffError

UNFINISHED = ".part"
"""Ending of a file that is being written; after a crash it is overwritten."""


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Write a file that readers see complete or not at all.

    Args:
        path: the final file; missing folders are created, an older file is replaced.

    Yields:
        The temporary file, which replaces ``path`` when the block ends without error.

    Raises:
        SidiffError: the disk refuses it; an older file is unchanged.
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
    """Flush a file, or the names in a folder, to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
