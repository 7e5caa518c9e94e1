"""The served bundle, and its replacement by a newer one.

The server checks a path every few seconds. A newer version, or a link with a new
target, is loaded while the old bundle still serves. The next batch of requests uses the
new bundle.
"""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

from sidiff.errors import SidiffError
from sidiff.parameters import Device
from sidiff.server.metrics import BUNDLE, BUNDLES_REFUSED
from sidiff.serving import Recommender
from sidiff.serving.bundle import find_bundle

logger = logging.getLogger(__name__)


class ServedBundle:
    """A recommender that follows its bundle's path.

    Attributes:
        recommender: of the newest bundle that could be loaded.
    """

    def __init__(self, path: Path, device: Device) -> None:
        """Load the bundle at ``path``, see ``find_bundle``.

        Raises:
            SidiffError: there is no bundle, or it is damaged.
        """
        self._path, self._device = path, device
        self._failed: object = None
        self._load(find_bundle(path))

    async def follow(self, seconds: float) -> None:
        """Check the path every ``seconds``, until the task is cancelled."""
        while True:
            await asyncio.sleep(seconds)
            try:
                await asyncio.to_thread(self.look)
            except Exception:  # a defect, which must not end the checks
                BUNDLES_REFUSED.inc()
                logger.exception(
                    "The newest bundle failed; the loaded bundle stays in use"
                )

    def look(self) -> None:
        """Load a newer bundle, if there is one; after a failure the old one stays."""
        try:
            folder = find_bundle(self._path)
        except (SidiffError, OSError) as error:
            _warn(error)
            return
        if folder == self._folder:
            return
        # A folder that could not be read may be a bundle that is still being copied; it
        # is read again when its files have changed.
        files = _files(folder)
        if files == self._failed:
            return
        self._failed = files
        try:
            self._load(folder)
        except SidiffError as error:
            BUNDLES_REFUSED.inc()
            _warn(error)
            return
        logger.info("Bundle %s is in use", folder)

    def _load(self, folder: Path) -> None:
        self.recommender = Recommender.load(folder, self._device)
        self._folder = folder
        BUNDLE.clear()
        BUNDLE.labels(self.recommender.about["fingerprint"]).set(1)


def _warn(error: Exception) -> None:
    logger.warning("%s; the loaded bundle stays in use", str(error).rstrip("."))


def _files(folder: Path) -> list[tuple[str, int, int]]:
    """Name, size and time of each file of a folder."""
    found = [(str(file), file.stat()) for file in sorted(folder.iterdir())]
    return [(name, about.st_size, about.st_mtime_ns) for name, about in found]
