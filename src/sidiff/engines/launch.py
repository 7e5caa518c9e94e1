"""Start a training where ``training.engine`` says, and wait for what comes of it."""

from __future__ import annotations

import logging

from sidiff.engines.exchange import FAILED, REFUSED, Exchange
from sidiff.engines.job import result_from_bytes
from sidiff.engines.on_ray import run_on_ray
from sidiff.engines.processes import run_ddp
from sidiff.errors import SidiffError
from sidiff.training.denoising import Job
from sidiff.training.loop import Fitted, fit
from sidiff.training.trainer import OnEpoch


def train(job: Job, on_epoch: OnEpoch, address: str | None = None) -> Fitted:
    """Do a job on the engine that it configures.

    Args:
        job: what is to be trained.
        on_epoch: see ``sidiff.training.loop.fit``; called, as the log is written, by
            this process in every case.
        address: of the Ray cluster, see ``cluster``.

    Raises:
        SidiffError: as ``fit``, or the workers were lost too often.
    """
    parameters = job.parameters
    if parameters.engine == "local":
        return fit(job, on_epoch)
    reports = _Reports(on_epoch)
    if parameters.engine == "ddp":
        result = run_ddp(job, reports.forward)
    else:
        result = run_on_ray(job, reports.forward, address)
    if reports.refused is not None:
        raise SidiffError(reports.refused)
    if result is None:
        last = f" The last error: {reports.failed}" if reports.failed else ""
        raise SidiffError(
            "The training ended without a result: its workers were lost more than "
            f"training.restarts ({parameters.restarts}) times; run the same command "
            f"again, and it goes on from its last checkpoint.{last}"
        )
    if job.checkpoints is not None:
        job.checkpoints.adopt(reports.checkpoints)
    return result_from_bytes(result)


class _Reports:
    """Passes on what the workers report.

    Attributes:
        refused: why they gave up, where the user must see to it.
        failed: what ended one of them last.
        checkpoints: names of the snapshots that they used.
    """

    def __init__(self, on_epoch: OnEpoch) -> None:
        self.refused: str | None = None
        self.failed: str | None = None
        self.checkpoints: list[str] = []
        self._told = False
        self._on_epoch = on_epoch
        self._last_epoch = 0

    def forward(self, exchange: Exchange) -> None:
        """Pass on what came since the last call."""
        for kind, content in exchange.events():
            if kind == "log":
                level, name, message = content
                logging.getLogger(name).log(level, "%s", message)
            elif kind == "epoch" and content[0] > self._last_epoch:
                # Workers that were started again report their epochs once more.
                self._last_epoch, figures = content
                self._on_epoch(self._last_epoch, figures)
            elif kind == "checkpoints":
                self.checkpoints = content
            elif kind == REFUSED:
                self.refused = content
            elif kind == FAILED:
                told, reason = content
                if told or not self._told:
                    self._told, self.failed = told, reason
