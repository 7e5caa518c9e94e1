"""Trainings started on the engine that ``training.engine`` names."""

from __future__ import annotations

import logging
from typing import Any

import torch

from sidiff.engines.ddp import run_ddp
from sidiff.engines.on_ray import run_on_ray
from sidiff.engines.worker import FAILED, REFUSED
from sidiff.errors import SidiffError
from sidiff.training.denoising import Job
from sidiff.training.loop import Fitted, fit
from sidiff.training.trainer import OnEpoch


def train(job: Job, on_epoch: OnEpoch, address: str | None = None) -> Fitted:
    """Do a job on the engine that it configures.

    Args:
        job: data and settings.
        on_epoch: see ``sidiff.training.loop.fit``; called, as the log is written, by
            this process in every case.
        address: of the Ray cluster, see ``cluster``.

    Raises:
        SidiffError: as ``fit``, or the workers were lost too often.
    """
    parameters = job.parameters
    if parameters.engine == "local":
        return fit(job, on_epoch)
    reports = Reports(on_epoch)
    if parameters.engine == "ddp":
        for _ in range(parameters.restarts + 1):
            if run_ddp(job, reports.add) or reports.refused is not None:
                break
    else:
        run_on_ray(job, reports.add, address)
    if reports.refused is not None:
        raise SidiffError(reports.refused)
    if reports.result is None:
        last = f" The last error: {reports.failed}" if reports.failed else ""
        raise SidiffError(
            "The training ended without a result: its workers were lost more than "
            f"training.restarts ({parameters.restarts}) times; run the same command "
            f"again, and it goes on from its last checkpoint.{last}"
        )
    if job.checkpoints is not None:
        job.checkpoints.adopt(reports.checkpoints)
    return reports.result


class Reports:
    """The reports of all workers: log and epochs shown, the rest kept.

    Attributes:
        refused: the error that the user must correct; None for none.
        failed: the error that ended a worker last.
        checkpoints: names of the snapshots that the workers used.
        result: the trained denoiser; None while there is none.
    """

    def __init__(self, on_epoch: OnEpoch) -> None:
        self.refused: str | None = None
        self.failed: str | None = None
        self.checkpoints: list[str] = []
        self.result: Fitted | None = None
        self._is_sidiff_error = False
        self._on_epoch = on_epoch
        self._last_epoch = 0

    def add(self, kind: str, content: Any) -> None:
        """Take one report, see ``sidiff.engines.worker``."""
        if kind == "log":
            level, name, message = content
            logging.getLogger(name).log(level, "%s", message)
        elif kind == "epoch" and content[0] > self._last_epoch:
            # Workers that were started again report their epochs once more.
            self._last_epoch, figures = content
            self._on_epoch(self._last_epoch, figures)
        elif kind == "checkpoints":
            self.checkpoints = content
        elif kind == "result":
            arrays, *rest = content
            # Copied, because arrays of another process may be read-only.
            weights = {name: torch.tensor(array) for name, array in arrays.items()}
            self.result = Fitted(weights, *rest)
        elif kind == REFUSED:
            self.refused = content
        elif kind == FAILED:
            is_sidiff_error, message = content
            if is_sidiff_error or not self._is_sidiff_error:
                self._is_sidiff_error, self.failed = is_sidiff_error, message
