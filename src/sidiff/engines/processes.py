"""Trainings in several processes of this machine, by torch's elastic launcher."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

from sidiff.devices import resolve
from sidiff.engines.cluster import source_paths
from sidiff.engines.exchange import Exchange, FolderExchange
from sidiff.engines.job import Job
from sidiff.errors import SidiffError
from sidiff.parameters import TrainingParameters

POLL_SECONDS = 0.2


def run_ddp(job: Job, pass_on: Callable[[Exchange], None]) -> bytes | None:
    """Run a job and wait for it; ``pass_on`` is called now and then.

    Returns:
        Its result; None if the workers were lost too often or refused.

    Raises:
        SidiffError: there are fewer GPUs than workers, or the disk is full.
    """
    parameters = job.parameters
    _check_devices(parameters)
    # A folder that only this user can read.
    with tempfile.TemporaryDirectory(prefix="sidiff-") as folder:
        exchange = FolderExchange(Path(folder), job.to_bytes())
        command = [
            *(sys.executable, "-m", "torch.distributed.run", "--standalone"),
            f"--nproc-per-node={parameters.workers}",
            f"--max-restarts={parameters.restarts}",
            *("-m", "sidiff.engines.worker", folder),
        ]
        environment = dict(os.environ) | {"PYTHONPATH": source_paths()}
        threads = max(1, (os.cpu_count() or 1) // parameters.workers)
        environment.setdefault("OMP_NUM_THREADS", str(threads))
        # The launcher and its workers hold the other end of their input, and end when
        # this process does, however it ends.
        with subprocess.Popen(  # noqa: S603 (nothing of the command is the user's)
            command, stdin=subprocess.PIPE, env=environment
        ) as launcher:
            try:
                while launcher.poll() is None:
                    pass_on(exchange)
                    time.sleep(POLL_SECONDS)
            finally:
                launcher.terminate()
        pass_on(exchange)
        return exchange.result()


def _check_devices(parameters: TrainingParameters) -> None:
    if resolve(parameters.device).type != "cuda":
        return
    devices = torch.cuda.device_count()
    if parameters.workers > devices:
        raise SidiffError(
            f"training.workers is {parameters.workers} but this machine has {devices} "
            "CUDA devices; set training.workers to at most that."
        )
