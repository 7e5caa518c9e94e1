"""Start of a training on the engine of ``training.engine``."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from sidiff.engines.exchange import FAILED, REFUSED, Exchange
from sidiff.engines.job import result_from_bytes
from sidiff.engines.on_ray import run_on_ray
from sidiff.engines.processes import run_ddp
from sidiff.errors import SidiffError
from sidiff.training.denoising import Job
from sidiff.training.loop import Fitted, fit
from sidiff.training.trainer import OnEpoch

POLL_SECONDS = 0.2


def train(job: Job, on_epoch: OnEpoch, address: str | None = None) -> Fitted:
    """Run a job on its engine and wait for the result.

    Args:
        job: data and settings.
        on_epoch: see ``sidiff.training.loop.fit``; called in this process.
        address: of the Ray cluster, see ``cluster``.

    Raises:
        SidiffError: as ``fit``, or the workers failed too often.
    """
    parameters = job.parameters
    if parameters.engine == "local":
        return fit(job, on_epoch)
    reports = _Reports(on_epoch)
    if parameters.engine == "ddp":
        result = run_ddp(job, reports.follow)
    else:
        result = run_on_ray(job, reports.follow, address)
    if reports.refused is not None:
        raise SidiffError(reports.refused)
    if result is None:
        last = f" The last error: {reports.failed}" if reports.failed else ""
        raise SidiffError(
            "The training ended without a result: its workers were lost more than "
            f"training.restarts ({parameters.restarts}) times; run the same command "
            f"again, and it continues from its last checkpoint.{last}"
        )
    if job.checkpoints is not None:
        job.checkpoints.adopt(reports.checkpoints)
    return result_from_bytes(result)


class _Reports:
    """The events of the workers, forwarded to the log and to ``on_epoch``.

    Attributes:
        refused: message of the error that only the user can solve.
        failed: message of the last error after which workers are started again.
        checkpoints: names of the snapshots that the workers read or wrote.
    """

    def __init__(self, on_epoch: OnEpoch) -> None:
        self.refused: str | None = None
        self.failed: str | None = None
        self.checkpoints: list[str] = []
        self._failed_for_user = False
        self._on_epoch = on_epoch
        self._last_epoch = 0

    def follow(self, exchange: Exchange, running: Callable[[], bool]) -> None:
        """Forward events until the workers have ended."""
        while running():
            self.forward(exchange)
            time.sleep(POLL_SECONDS)
        self.forward(exchange)

    def forward(self, exchange: Exchange) -> None:
        """Forward the events since the last call."""
        for kind, content in exchange.events():
            if kind == "log":
                level, name, message = content
                logging.getLogger(name).log(level, "%s", message)
            elif kind == "epoch" and content[0] > self._last_epoch:
                # Workers that were started again repeat the epochs of their checkpoint.
                self._last_epoch, figures = content
                self._on_epoch(self._last_epoch, figures)
            elif kind == "checkpoints":
                self.checkpoints = content
            elif kind == REFUSED:
                self.refused = content
            elif kind == FAILED:
                for_user, message = content
                if for_user or not self._failed_for_user:
                    self._failed_for_user, self.failed = for_user, message
