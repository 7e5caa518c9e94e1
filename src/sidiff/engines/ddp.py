"""Trainings in several processes of this machine, which are restarted together."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import tempfile
import threading
from dataclasses import replace
from multiprocessing import get_context, parent_process
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed import FileStore  # type: ignore[attr-defined]

from sidiff.decoding.lattice import Lattice
from sidiff.devices import resolve
from sidiff.engines.worker import Report, absolute, reported, work
from sidiff.errors import SidiffError
from sidiff.parameters import Device
from sidiff.training.denoising import Job
from sidiff.training.workers import Workers


def run_ddp(job: Job, report: Report) -> bool:
    """Run a job with its workers until they end, and call ``report`` meanwhile.

    Returns:
        Whether all workers ended by themselves; False where one was lost.

    Raises:
        SidiffError: there are fewer GPUs than workers.
    """
    parameters = job.parameters
    check_devices(parameters.device, parameters.workers)
    lattice = None if job.lattice is None else job.lattice.to_tensors()
    job = replace(job, lattice=None, checkpoints=absolute(job.checkpoints))
    context = get_context("spawn")
    processes: dict[Any, Any] = {}
    with tempfile.TemporaryDirectory(
        prefix="sidiff-", ignore_cleanup_errors=True
    ) as folder:
        try:
            for rank in range(parameters.workers):
                reader, writer = context.Pipe(duplex=False)
                processes[reader] = context.Process(
                    target=_work, args=(rank, job, lattice, Path(folder), writer)
                )
                processes[reader].start()
                # Only the worker holds this end now, so that it closes with it.
                writer.close()
            return _listen(processes, report)
        finally:
            for process in processes.values():
                process.kill()
                process.join()


def _listen(processes: dict[Any, Any], report: Report) -> bool:
    """Pass the reports of all workers on until they end or one is lost."""
    readers = list(processes)
    while readers:
        ready: list[Any] = wait(readers)
        for reader in ready:
            try:
                report(*reader.recv())
            except (EOFError, OSError):  # the worker has ended
                process = processes[reader]
                process.join()
                if process.exitcode:
                    return False
                readers.remove(reader)
    return True


def check_devices(device: Device, workers: int) -> None:
    """Refuse more workers than this machine has GPUs, where they use GPUs."""
    if resolve(device).type != "cuda":
        return
    devices = torch.cuda.device_count()
    if workers > devices:
        raise SidiffError(
            f"training.workers is {workers} but this machine has {devices} "
            "CUDA devices; set training.workers to at most that."
        )


def _work(
    rank: int,
    job: Job,
    lattice: tuple[Any, Any] | None,
    folder: Path,
    writer: Connection,
) -> None:
    """Join the other workers by a file of ``folder``, and work with them."""
    # The starting process ends its workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, args=[folder], daemon=True).start()

    def report(kind: str, content: Any) -> None:
        writer.send((kind, content))

    try:
        with reported(report):
            if lattice is not None:
                job = replace(job, lattice=Lattice.from_tensors(*lattice))
            _join_and_work(rank, job, folder / "rendezvous", report)
    except Exception:
        # It is reported; a traceback would bury that sentence.
        sys.exit(1)


def _join_and_work(rank: int, job: Job, rendezvous: Path, report: Report) -> None:
    parameters = job.parameters
    size = parameters.workers
    if not parameters.threads and "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(max(1, (os.cpu_count() or 1) // size))
    backend = "gloo"
    if resolve(parameters.device).type == "cuda":
        torch.cuda.set_device(rank)
        backend = "nccl"
    store = FileStore(str(rendezvous), size)
    dist.init_process_group(backend, store=store, rank=rank, world_size=size)
    try:
        work(job, report, Workers(rank, size))
    finally:
        dist.destroy_process_group()


def _end_with_parent(folder: Path) -> None:
    """End this process when the starting process has ended, however it ended.

    The workers of a killed run would otherwise write to the checkpoints of the next.
    """
    parent = parent_process()
    if parent is not None:
        wait([parent.sentinel])
    shutil.rmtree(folder, ignore_errors=True)
    os._exit(1)
