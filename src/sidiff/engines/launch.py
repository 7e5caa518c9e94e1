"""Start a training where ``training.engine`` says, and wait for what comes of it."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

import sidiff
from sidiff.decoding.lattice import Lattice
from sidiff.diffusion.devices import resolve
from sidiff.engines.job import REFUSED, Events, Job, read_result
from sidiff.errors import SidiffError
from sidiff.parameters import TrainingParameters
from sidiff.reviews.sequences import Sequences
from sidiff.sids.table import SidTable
from sidiff.snapshots import SnapshotFolder
from sidiff.training.loop import Fitted, OnEpoch, fit

_POLL_SECONDS = 0.2


def train(
    sequences: Sequences,
    samples: NDArray[np.int32],
    table: SidTable,
    parameters: TrainingParameters,
    max_history: int,
    on_epoch: OnEpoch,
    lattice: Lattice | None = None,
    checkpoints: SnapshotFolder | None = None,
) -> Fitted:
    """Do as ``sidiff.training.loop.fit`` does, on the engine that is configured.

    ``on_epoch`` and the log are served by this process in every case.

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
    _check_devices(parameters)
    kept = None if checkpoints is None else checkpoints.path.absolute()
    job = Job(sequences, samples, table, parameters, max_history, lattice, kept)
    with tempfile.TemporaryDirectory(prefix="sidiff_training_") as name:
        folder = Path(name)
        job.write(folder)
        reports = _Reports(Events(folder), on_epoch)
        _run_ddp(folder, parameters, reports.pass_on)
        fitted = read_result(folder)
    if reports.refused is not None:
        raise SidiffError(reports.refused)
    if fitted is None:
        raise SidiffError(
            "The training ended without a result: its workers were lost more than "
            f"training.restarts ({parameters.restarts}) times, as said above; run the "
            "same command again, and it goes on from its last checkpoint."
        )
    if checkpoints is not None:
        checkpoints.take_over(reports.checkpoints)
    return fitted


class _Reports:
    """Passes on what the workers report.

    Attributes:
        refused: why they gave up, where the user must see to it.
        checkpoints: names of the snapshots that they used.
    """

    def __init__(self, events: Events, on_epoch: OnEpoch) -> None:
        self.refused: str | None = None
        self.checkpoints: list[str] = []
        self._events = events
        self._on_epoch = on_epoch
        self._last_epoch = 0

    def pass_on(self) -> None:
        """Pass on what came since the last call."""
        for kind, content in self._events.read():
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


def _check_devices(parameters: TrainingParameters) -> None:
    if resolve(parameters.device).type != "cuda":
        return
    devices = torch.cuda.device_count()
    if parameters.workers > devices:
        raise SidiffError(
            f"training.workers is {parameters.workers} but this machine has {devices} "
            "CUDA devices; set training.workers to at most that."
        )


def _run_ddp(
    folder: Path, parameters: TrainingParameters, pass_on: Callable[[], None]
) -> None:
    """Let torch's elastic launcher run the workers on this machine."""
    command = [
        *(sys.executable, "-m", "torch.distributed.run", "--standalone"),
        f"--nproc-per-node={parameters.workers}",
        f"--max-restarts={parameters.restarts}",
        *("-m", "sidiff.engines.worker", str(folder)),
    ]
    environment = dict(os.environ)
    # Kedro finds the package by the project's folder, other processes do not.
    source = str(Path(sidiff.__file__).parent.parent)
    paths = [source, environment.get("PYTHONPATH", "")]
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
    threads = max(1, (os.cpu_count() or 1) // parameters.workers)
    environment.setdefault("OMP_NUM_THREADS", str(threads))
    # The launcher and its workers hold the other end of their input, and end when
    # this process does, however it ends.
    with subprocess.Popen(  # noqa: S603 (nothing of the command is the user's)
        command, stdin=subprocess.PIPE, env=environment
    ) as launcher:
        try:
            while launcher.poll() is None:
                pass_on()
                time.sleep(_POLL_SECONDS)
        finally:
            launcher.terminate()
    pass_on()
