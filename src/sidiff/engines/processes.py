"""Training in several processes of this machine, by torch's elastic launcher.

``python -m sidiff.engines.processes`` is that launcher, ``torch.distributed.run``,
without its error reports: the workers report their errors through the exchange.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch

from sidiff.devices import resolve
from sidiff.engines.cluster import source_paths
from sidiff.engines.exchange import CHECKPOINTS, Exchange, FolderExchange
from sidiff.engines.job import checkpoints_to_json, to_bytes
from sidiff.errors import SidiffError
from sidiff.parameters import Device
from sidiff.training.denoising import Job

WORKERS_FAILED = 3
"""Exit status of the launcher when workers failed more often than restarts allow."""


def run_ddp(
    job: Job, follow: Callable[[Exchange, Callable[[], bool]], None]
) -> bytes | None:
    """Run a job and wait for it.

    Args:
        job: data and settings.
        follow: handles the events of an exchange while a function returns True.

    Returns:
        The result; None if the workers failed too often or reported ``REFUSED``.

    Raises:
        SidiffError: there are fewer GPUs than workers, the disk is full, or the
            launcher was killed.
    """
    parameters = job.parameters
    check_devices(parameters.device, parameters.workers)
    # A folder that only this user can read.
    with tempfile.TemporaryDirectory(
        prefix="sidiff-", ignore_cleanup_errors=True
    ) as folder:
        exchange = FolderExchange(Path(folder), to_bytes(job))
        command = [
            *(sys.executable, "-m", "sidiff.engines.processes", "--standalone"),
            f"--nproc-per-node={parameters.workers}",
            f"--max-restarts={parameters.restarts}",
            f"--log-dir={folder}",
            *("-m", "sidiff.engines.worker", folder),
        ]
        environment = dict(os.environ) | {
            "PYTHONPATH": source_paths(),
            CHECKPOINTS: checkpoints_to_json(job.checkpoints),
            # Silence torch's reports on lost workers.
            "LOGLEVEL": "CRITICAL",
            "TORCH_CPP_LOG_LEVEL": "FATAL",
        }
        threads = max(1, (os.cpu_count() or 1) // parameters.workers)
        environment.setdefault("OMP_NUM_THREADS", str(threads))
        # The workers read their standard input, and end when this process closes it,
        # even by being killed.
        with subprocess.Popen(  # noqa: S603 (nothing of the command is the user's)
            command, stdin=subprocess.PIPE, env=environment
        ) as launcher:
            try:
                follow(exchange, lambda: launcher.poll() is None)
            finally:
                launcher.terminate()
        result = exchange.result()
        if result is None and launcher.returncode not in (0, WORKERS_FAILED):
            raise SidiffError(
                "The launcher of the training's workers was killed "
                f"(status {launcher.returncode}), perhaps for lack of memory; run "
                "the same command again, and it continues from its last checkpoint."
            )
        return result


def check_devices(device: Device, workers: int) -> None:
    """Check that this machine has a GPU for each worker, if they use GPUs.

    Raises:
        SidiffError: there are fewer GPUs than workers.
    """
    if resolve(device).type != "cuda":
        return
    devices = torch.cuda.device_count()
    if workers > devices:
        raise SidiffError(
            f"training.workers is {workers} but this machine has {devices} "
            "CUDA devices; set training.workers to at most that."
        )


if __name__ == "__main__":
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.run import main as launch

    try:
        launch()
    except ChildFailedError:
        sys.exit(WORKERS_FAILED)
