"""The SHA-256 of a stored file and of what it was made of, in a file beside it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from polars.exceptions import PolarsError
from safetensors import SafetensorError

from sidiff.errors import SidiffError
from sidiff.storage import address_of, local_copy, read_bytes, whole_object

STAMP = ".stamp.json"
"""Ending of the file beside a stored one."""


class Stamp(NamedTuple):
    """What is known of a stored file."""

    sha256: str
    made_of: dict[str, str]
    """Data sets that it was made of, near and far, and the SHA-256 of each."""


def write_stamp(files: Any, path: str, part: Path, made_of: Mapping[str, str]) -> str:
    """Write the stamp of ``part``, which is to become ``path`` of ``files``.

    Returns:
        Its SHA-256.

    Raises:
        SidiffError: the disk is full or the store refuses.
    """
    stamp = Stamp(_digest(part), dict(made_of))
    with whole_object(files, path + STAMP) as beside:
        beside.write_text(json.dumps(stamp._asdict(), indent=2) + "\n")
    return stamp.sha256


def read_stamp(files: Any, path: str) -> Stamp | None:
    """Return the stamp of a stored file; None where it has none.

    Raises:
        StorageError: the store cannot be read.
    """
    try:
        return Stamp(**json.loads(read_bytes(files, path + STAMP)))
    except FileNotFoundError:
        return None
    except (ValueError, TypeError):
        return Stamp("damaged", {})


def check(files: Any, path: str, copy: Path) -> None:
    """Compare a file of this machine with the stamp of ``path``, if there is one.

    Raises:
        SidiffError: they differ.
    """
    stamp = read_stamp(files, path)
    if stamp is not None and copy.is_file() and stamp.sha256 != _digest(copy):
        raise SidiffError(
            f"{address_of(files, path)} is damaged: its SHA-256 differs from the one "
            f"in {PurePosixPath(path).name}{STAMP}; run the stage that writes it "
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
