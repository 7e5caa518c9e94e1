"""One of the processes of a training: ``python -m sidiff.engines.worker FOLDER``.

Started by torch's elastic launcher, which sets RANK, LOCAL_RANK and WORLD_SIZE and
starts all workers again when one is lost; they then go on from the last checkpoint.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
from pathlib import Path

import torch
import torch.distributed as dist
from torch.distributed import PrefixStore, TCPStore  # type: ignore[attr-defined]

from sidiff.diffusion.devices import resolve
from sidiff.engines.job import REFUSED, Events, Job, LogEvents, write_result
from sidiff.errors import SidiffError
from sidiff.snapshots import SnapshotFolder
from sidiff.training.loop import fit
from sidiff.training.workers import Workers


def work(folder: Path, workers: Workers) -> None:
    """Run the job in ``folder`` as one of ``workers``; report events and the result."""
    job, events = Job.read(folder), Events(folder)
    if any(kind == REFUSED for kind, _ in events.read()):
        return
    checkpoints = None if job.checkpoints is None else SnapshotFolder(job.checkpoints)
    logger, handler = logging.getLogger("sidiff"), LogEvents(events)
    if workers.first:
        logger.setLevel(logging.INFO)
        logger.addHandler(handler)
    try:
        fitted = fit(
            job.sequences,
            job.samples,
            job.table,
            job.parameters,
            job.max_history,
            lambda epoch, figures: events.write("epoch", [epoch, figures]),
            job.lattice,
            checkpoints,
            workers,
        )
        if workers.first:
            events.write("checkpoints", checkpoints.used if checkpoints else [])
            write_result(folder, fitted)
    except SidiffError as error:
        events.write(REFUSED, str(error))
    finally:
        logger.removeHandler(handler)


def main() -> None:
    """Join the other workers and work."""
    threading.Thread(target=_end_with_the_run, daemon=True).start()
    folder = Path(sys.argv[1])
    device = resolve(Job.read(folder).parameters.device)
    if device.type == "cuda":
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    _connect("nccl" if device.type == "cuda" else "gloo")
    try:
        work(folder, Workers.connected())
    finally:
        dist.destroy_process_group()


def _connect(backend: str) -> None:
    """Join the other workers of this attempt.

    The launcher keeps one store for all attempts; without a prefix the workers that
    are started again find the addresses of the lost ones, and wait for them.
    """
    rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    store = TCPStore(address, port, size, is_master=False)
    attempt = PrefixStore(os.environ["TORCHELASTIC_RESTART_COUNT"], store)
    dist.init_process_group(backend, store=attempt, rank=rank, world_size=size)


def _end_with_the_run() -> None:
    """End this process when the one that holds the other end of its input has ended.

    A killed run would otherwise leave workers behind, who write to the checkpoints of
    the run that comes after it.
    """
    # Not by sys.stdin, whose lock would be in the way of this process's own ending.
    while os.read(0, 1):
        pass
    os._exit(1)


if __name__ == "__main__":
    main()
