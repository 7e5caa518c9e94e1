"""Trainings in several processes of this machine, by torch's elastic launcher."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch

from sidiff.diffusion.devices import resolve
from sidiff.engines.cluster import source_paths
from sidiff.errors import SidiffError
from sidiff.parameters import TrainingParameters

POLL_SECONDS = 0.2


def run_ddp(
    folder: Path, parameters: TrainingParameters, pass_on: Callable[[], None]
) -> None:
    """Run the job in ``folder`` and wait for it; ``pass_on`` is called now and then.

    Raises:
        SidiffError: there are fewer GPUs than workers.
    """
    _check_devices(parameters)
    command = [
        *(sys.executable, "-m", "torch.distributed.run", "--standalone"),
        f"--nproc-per-node={parameters.workers}",
        f"--max-restarts={parameters.restarts}",
        *("-m", "sidiff.engines.worker", str(folder)),
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
                pass_on()
                time.sleep(POLL_SECONDS)
        finally:
            launcher.terminate()
    pass_on()


def _check_devices(parameters: TrainingParameters) -> None:
    if resolve(parameters.device).type != "cuda":
        return
    devices = torch.cuda.device_count()
    if parameters.workers > devices:
        raise SidiffError(
            f"training.workers is {parameters.workers} but this machine has {devices} "
            "CUDA devices; set training.workers to at most that."
        )
