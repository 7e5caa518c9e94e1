"""Worker process of a training: ``python -m sidiff.engines.worker FOLDER``.

torch's elastic launcher sets RANK, LOCAL_RANK and WORLD_SIZE, and starts all workers
again when one is lost. They then continue from the last checkpoint.
"""

from __future__ import annotations

import logging
import os
import shutil
import sys
import threading
from pathlib import Path

import torch
import torch.distributed as dist
from torch.distributed import PrefixStore, TCPStore  # type: ignore[attr-defined]

from sidiff.devices import resolve
from sidiff.engines.exchange import (
    REFUSED,
    Exchange,
    FolderExchange,
    LogReports,
    reported,
)
from sidiff.engines.job import result_to_bytes
from sidiff.training.denoising import Job
from sidiff.training.loop import fit
from sidiff.training.workers import Workers


def work(job: Job, exchange: Exchange) -> None:
    """Run the job as one of the workers that torch has connected."""
    if any(kind == REFUSED for kind, _ in exchange.events()):
        return  # an earlier attempt has failed for good
    workers = Workers(dist.get_rank(), dist.get_world_size())
    logger, handler = logging.getLogger("sidiff"), LogReports(exchange)
    if workers.first:
        logger.setLevel(logging.INFO)
        logger.addHandler(handler)
    try:
        fitted = fit(
            job,
            lambda epoch, figures: exchange.report("epoch", [epoch, figures]),
            workers,
        )
        if workers.first:
            used = [] if job.checkpoints is None else job.checkpoints.used
            exchange.report("checkpoints", used)
            exchange.finish(result_to_bytes(fitted))
    finally:
        logger.removeHandler(handler)


def main() -> None:
    """Connect to the other workers and run the job."""
    folder = Path(sys.argv[1])
    threading.Thread(target=_end_with_caller, args=[folder], daemon=True).start()
    exchange = FolderExchange(folder)
    try:
        with reported(exchange):
            _connect_and_work(exchange)
    except Exception:
        # It has been reported; a traceback would hide the message.
        sys.exit(1)


def _connect_and_work(exchange: FolderExchange) -> None:
    """Connect to the other workers of this attempt, and run the job."""
    job = exchange.job()
    on_gpu = resolve(job.parameters.device).type == "cuda"
    if on_gpu:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    store = TCPStore(address, port, size, is_master=False)
    # The launcher keeps one store for all attempts. Without a prefix, restarted workers
    # would find the addresses of the lost ones, and wait for them.
    attempt = PrefixStore(os.environ["TORCHELASTIC_RESTART_COUNT"], store)
    dist.init_process_group(
        "nccl" if on_gpu else "gloo", store=attempt, rank=rank, world_size=size
    )
    try:
        work(job, exchange)
    finally:
        dist.destroy_process_group()


def _end_with_caller(folder: Path) -> None:
    """End this process when the caller closes its standard input, or is killed.

    The workers of a killed run would otherwise write to the checkpoints of the next
    one, and the folder of their exchange would stay.
    """
    # Not sys.stdin, whose lock would block the normal end of this process.
    while os.read(0, 1):
        pass
    shutil.rmtree(folder, ignore_errors=True)
    os._exit(1)


if __name__ == "__main__":
    main()
