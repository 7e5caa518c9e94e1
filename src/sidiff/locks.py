"""Locks of runs: what one run writes, no other reads or writes meanwhile.

One file holds the locks of all data sets below a folder, one byte each. The operating
system removes a lock when its process ends, however it ends. Other machines see it on a
shared file system that has locks; an object store has none (``docs/deployment.md``).
"""

from __future__ import annotations

import fcntl
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from zlib import crc32

from sidiff.errors import SidiffError

logger = logging.getLogger(__name__)

LOCKS = ".locks"
"""The file of the locks."""


class RunLock:
    """The locks of the run of this process, which has one run at a time."""

    def __init__(self) -> None:
        self._file: int | None = None

    def take(
        self, folder: Path, writes: Mapping[str, str], reads: Mapping[str, str]
    ) -> None:
        """Lock what a run writes for itself, and what it reads against writers.

        Args:
            folder: the folder of the file of locks; made when it is absent.
            writes: place of every data set that is written, by its name.
            reads: place of every data set that is only read, by its name.

        Raises:
            SidiffError: another run has one of them; none is locked then.
        """
        self.give_back()
        if not writes:
            return
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._file = os.open(folder / LOCKS, os.O_RDWR | os.O_CREAT, 0o666)
            for locks, kind in ((writes, fcntl.LOCK_EX), (reads, fcntl.LOCK_SH)):
                for name, place in sorted(locks.items()):
                    _lock(self._file, name, place, kind)
        except OSError as error:
            self.give_back()
            logger.warning(
                "Runs at one place are not kept apart, because %s cannot be locked "
                "(%s).",
                folder / LOCKS,
                error.strerror,
            )
        except SidiffError:
            self.give_back()
            raise

    def give_back(self) -> None:
        """Unlock everything."""
        if self._file is not None:
            os.close(self._file)
            self._file = None


def _lock(file: int, name: str, place: str, kind: int) -> None:
    try:
        # A record lock, because worker processes, which may outlive a killed run, do
        # not inherit it.
        fcntl.lockf(file, kind | fcntl.LOCK_NB, 1, crc32(place.encode()))
    except (BlockingIOError, PermissionError) as error:
        does = "reads or writes" if kind == fcntl.LOCK_EX else "writes"
        raise SidiffError(
            f"Another run {does} {name} at {place} now; wait until it has ended, "
            "or keep the two apart with --params=dataset=NAME."
        ) from error
