"""The bundle that is served now, and how a newer one takes its place.

A path is looked at every few seconds. Where it leads to another bundle than before, a
newer version or a link that was moved, that one is loaded beside the old one, and the
next batch of requests goes to it; what the old one has begun, it ends.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path

from sidiff.errors import SidiffError
from sidiff.parameters import Device
from sidiff.serving import Recommender
from sidiff.serving.bundle import find_bundle

logger = logging.getLogger(__name__)


class Current:
    """A recommender that follows its bundle's path.

    Attributes:
        recommender: that of the newest bundle that could be loaded.
    """

    def __init__(
        self, path: Path, device: Device, seconds: float, refused: Callable[[], None]
    ) -> None:
        """Load the bundle.

        Args:
            path: of a bundle, of a folder of versions, or a link to one of both.
            device: where lists are made.
            seconds: between two looks at the path.
            refused: called when a newer bundle cannot be loaded.

        Raises:
            SidiffError: there is no bundle, or it is damaged.
        """
        self._path, self._device, self._seconds = path, device, seconds
        self._refused = refused
        self._folder = find_bundle(path)
        self.recommender = Recommender.load(self._folder, device)
        self._failed: object = None

    async def follow(self) -> None:
        """Look at the path every few seconds, until the task is cancelled."""
        while True:
            await asyncio.sleep(self._seconds)
            try:
                await asyncio.to_thread(self.look)
            except Exception:  # a defect, which must not end the watch for good
                self._refused()
                logger.exception("The newest bundle failed; the loaded one stays")

    def look(self) -> None:
        """Take a newer bundle over, if there is one; the old one stays if it fails."""
        try:
            folder = find_bundle(self._path)
        except (SidiffError, OSError) as error:
            _stays(error)
            return
        if folder == self._folder:
            return
        # What cannot be read is read again only when it has changed: it may be a bundle
        # that is still being copied.
        files = _files(folder)
        if files == self._failed:
            return
        self._failed = files
        try:
            self.recommender = Recommender.load(folder, self._device)
        except SidiffError as error:
            self._refused()
            _stays(error)
            return
        self._folder = folder
        logger.info("Bundle %s is in use", folder)


def _stays(error: Exception) -> None:
    logger.warning("%s; the loaded bundle stays in use", str(error).rstrip("."))


def _files(folder: Path) -> list[tuple[str, int, int]]:
    """Name, size and time of each file of a folder."""
    found = [(str(file), file.stat()) for file in sorted(folder.iterdir())]
    return [(name, about.st_size, about.st_mtime_ns) for name, about in found]
