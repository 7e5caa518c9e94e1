"""Locks on data sets: no run reads or writes a data set while another writes it.

One file has the locks of all data sets below a folder, one byte each. The operating
system removes a lock when its process ends. Other machines see it on a shared file
system with locks; an object store has none (``docs/deployment.md``).
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
"""Name of the file of locks."""


class RunLock:
    """The locks that this process holds for its run."""

    def __init__(self) -> None:
        self._file: int | None = None

    def take(
        self, folder: Path, writes: Mapping[str, str], reads: Mapping[str, str]
    ) -> None:
        """Lock outputs of a run exclusively, and its inputs against writers.

        Args:
            folder: folder of the file of locks; created if missing.
            writes: place of every output, by its name.
            reads: place of every input, by its name.

        Raises:
            SidiffError: another run has a lock on one; then none is locked.
        """
        self.give_back()
        if not writes:
            return
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._file = os.open(folder / LOCKS, os.O_RDWR | os.O_CREAT, 0o666)
            # A shared lock would replace the exclusive one of the same place.
            only_read = {
                name: place
                for name, place in reads.items()
                if place not in writes.values()
            }
            for locks, kind in ((writes, fcntl.LOCK_EX), (only_read, fcntl.LOCK_SH)):
                for name, place in sorted(locks.items()):
                    _lock(self._file, name, place, kind)
        except OSError as error:
            self.give_back()
            logger.warning(
                "Other runs at the same place are not locked out: %s cannot be locked "
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
        # Worker processes, which may outlive a killed run, do not inherit record locks.
        fcntl.lockf(file, kind | fcntl.LOCK_NB, 1, crc32(place.encode()))
    except (BlockingIOError, PermissionError) as error:
        does = "reads or writes" if kind == fcntl.LOCK_EX else "writes"
        raise SidiffError(
            f"Another run {does} {name} at {place} now; wait until it has ended, "
            "or use another data set with --params=dataset=NAME."
        ) from error
