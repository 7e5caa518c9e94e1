"""The SHA-256 of a stored file, in a file beside it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from polars.exceptions import PolarsError
from safetensors import SafetensorError

from sidiff.errors import SidiffError
from sidiff.files import whole_file

CHECKSUM = ".sha256"
"""Ending of the file beside a stored one; ``sha256sum --check`` understands it."""


def write_checksum(path: Path, part: Path) -> None:
    """Write the checksum of ``part``, which is to become ``path``.

    Raises:
        SidiffError: the disk is full or refuses.
    """
    with whole_file(_checksum_of(path)) as checksum:
        checksum.write_text(f"{_digest(part)}  {path.name}\n")


def check(path: Path) -> None:
    """Compare a stored file with its checksum, where it has one.

    Raises:
        SidiffError: they differ.
    """
    checksum = _checksum_of(path)
    if not (path.is_file() and checksum.is_file()):
        return
    if checksum.read_text().split()[:1] != [_digest(path)]:
        raise SidiffError(
            f"{path} is damaged: its SHA-256 differs from the one in {checksum.name}; "
            "run the stage that writes it again, or choose another version with "
            "--load-versions."
        )


@contextmanager
def read_errors(path: Path) -> Iterator[None]:
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


def _checksum_of(path: Path) -> Path:
    """Where the checksum of a stored file lies."""
    return path.with_name(path.name + CHECKSUM)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
