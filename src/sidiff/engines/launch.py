"""Start a training where ``training.engine`` says, and wait for what comes of it."""

from __future__ import annotations

import logging

import numpy as np
from numpy.typing import NDArray

from sidiff.decoding.lattice import Lattice
from sidiff.engines.exchange import REFUSED, Exchange
from sidiff.engines.job import Job, result_from_bytes
from sidiff.engines.on_ray import run_on_ray
from sidiff.engines.processes import run_ddp
from sidiff.errors import SidiffError
from sidiff.parameters import TrainingParameters
from sidiff.reviews.sequences import Sequences
from sidiff.sids.table import SidTable
from sidiff.snapshots import SnapshotFolder
from sidiff.training.loop import Fitted, OnEpoch, fit


def train(
    sequences: Sequences,
    samples: NDArray[np.int32],
    table: SidTable,
    parameters: TrainingParameters,
    max_history: int,
    on_epoch: OnEpoch,
    lattice: Lattice | None = None,
    checkpoints: SnapshotFolder | None = None,
    address: str | None = None,
) -> Fitted:
    """Do as ``sidiff.training.loop.fit`` does, on the engine that is configured.

    ``on_epoch`` and the log are served by this process in every case. ``address`` is
    the Ray cluster's, see ``cluster``.

    Raises:
        SidiffError: as ``fit``, or the workers were lost too often.
    """
    if parameters.engine == "local":
        return fit(
            sequences,
            samples,
            table,
            parameters,
            max_history,
            on_epoch,
            lattice,
            checkpoints,
        )
    job = Job(sequences, samples, table, parameters, max_history, lattice, checkpoints)
    reports = _Reports(on_epoch)
    if parameters.engine == "ddp":
        result = run_ddp(job, reports.pass_on)
    else:
        result = run_on_ray(job, reports.pass_on, address)
    if reports.refused is not None:
        raise SidiffError(reports.refused)
    if result is None:
        raise SidiffError(
            "The training ended without a result: its workers were lost more than "
            f"training.restarts ({parameters.restarts}) times, as said above; run the "
            "same command again, and it goes on from its last checkpoint."
        )
    if checkpoints is not None:
        checkpoints.take_over(reports.checkpoints)
    return result_from_bytes(result)


class _Reports:
    """Passes on what the workers report.

    Attributes:
        refused: why they gave up, where the user must see to it.
        checkpoints: names of the snapshots that they used.
    """

    def __init__(self, on_epoch: OnEpoch) -> None:
        self.refused: str | None = None
        self.checkpoints: list[str] = []
        self._on_epoch = on_epoch
        self._last_epoch = 0

    def pass_on(self, exchange: Exchange) -> None:
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
