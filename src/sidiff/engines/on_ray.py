"""Trainings on a Ray cluster, by Ray Train.

Ray starts the workers where the cluster has room, connects them, and starts them again
when one is lost. The job lies in the store of the cluster, reports go through an actor.
Checkpoints lie where they always do, so a cluster of several machines needs a folder
that all of them mount, or an object store.
"""

from __future__ import annotations

import logging
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any

import torch.distributed as dist

from sidiff.engines.cluster import cluster, uses_gpus
from sidiff.engines.worker import REFUSED, Report, absolute, reported, work
from sidiff.snapshots import SnapshotFolder
from sidiff.training.denoising import Job
from sidiff.training.workers import Workers

logger = logging.getLogger(__name__)

POLL_SECONDS = 0.2


class Mailbox:
    """An actor with the reports of the workers, and the place of their checkpoints.

    The checkpoints are apart from the job, which is large enough for Ray to write it
    to a disk: they hold the credentials of their store.
    """

    def __init__(self, checkpoints: SnapshotFolder | None) -> None:
        self._checkpoints = checkpoints
        self._reports: list[tuple[str, Any]] = []

    def checkpoints(self) -> SnapshotFolder | None:
        """Return the checkpoints."""
        return self._checkpoints

    def add(self, kind: str, content: Any) -> None:
        """Keep a report."""
        self._reports.append((kind, content))

    def reports(self, first: int) -> list[tuple[str, Any]]:
        """Return the reports from number ``first`` on."""
        return self._reports[first:]

    def refused(self) -> bool:
        """Test that a worker has reported an error that the user must correct."""
        return any(kind == REFUSED for kind, _ in self._reports)


def run_on_ray(job: Job, report: Report, address: str | None) -> None:
    """Run a job and wait for it; ``report`` is called meanwhile.

    Raises:
        SidiffError: as ``cluster``.
    """
    parameters = job.parameters
    with cluster(address, parameters.workers) as ray, _runs(job.checkpoints) as notes:
        from ray.train import FailureConfig, RunConfig, ScalingConfig  # noqa: PLC0415
        from ray.train.torch import TorchTrainer  # noqa: PLC0415

        # No CPU, because the actor only waits.
        mailbox = ray.remote(num_cpus=0)(Mailbox).remote(absolute(job.checkpoints))
        gpus = uses_gpus(ray, parameters.device, parameters.workers)
        trainer = TorchTrainer(
            _work,
            train_loop_config={
                "job": ray.put(replace(job, checkpoints=None)),
                "mailbox": mailbox,
            },
            scaling_config=ScalingConfig(num_workers=parameters.workers, use_gpu=gpus),
            run_config=RunConfig(
                failure_config=FailureConfig(max_failures=parameters.restarts), **notes
            ),
        )
        # In a thread of its own, because MLflow's run belongs to this one.
        fitting = threading.Thread(target=_fit, args=[trainer], daemon=True)
        fitting.start()
        read, running = 0, True
        while running:
            running = fitting.is_alive()
            reports = ray.get(mailbox.reports.remote(read))
            read += len(reports)
            for kind, content in reports:
                report(kind, content)
            time.sleep(POLL_SECONDS)


@contextmanager
def _runs(checkpoints: SnapshotFolder | None) -> Iterator[dict[str, Any]]:
    """The folder of Ray Train's notes on a run, as arguments of its ``RunConfig``.

    All machines must see it, so it is next to the checkpoints; it is removed
    afterwards.
    """
    if checkpoints is None:
        with tempfile.TemporaryDirectory(prefix="sidiff-") as folder:
            yield {"storage_path": folder}
        return
    from pyarrow.fs import FSSpecHandler, PyFileSystem  # noqa: PLC0415 (comes with Ray)

    path = (checkpoints.location / "ray").as_posix()
    files = PyFileSystem(FSSpecHandler(checkpoints.files))
    try:
        yield {"storage_path": path, "storage_filesystem": files}
    finally:
        with suppress(OSError):
            checkpoints.files.rm(path, recursive=True)


def _fit(trainer: Any) -> None:
    try:
        trainer.fit()
    except Exception as error:
        # It matters only where there is no result.
        logger.warning("Ray Train: %s", error)


def _work(settings: dict[str, Any]) -> None:
    """The work of each worker; Ray has connected it and chosen its GPU."""
    import ray  # noqa: PLC0415 (an extra)

    mailbox = settings["mailbox"]

    def report(kind: str, content: Any) -> None:
        ray.get(mailbox.add.remote(kind, content))

    if ray.get(mailbox.refused.remote()):
        return  # by the workers that were started before these
    with reported(report):
        job, checkpoints = ray.get([settings["job"], mailbox.checkpoints.remote()])
        workers = Workers(dist.get_rank(), dist.get_world_size())
        work(replace(job, checkpoints=checkpoints), report, workers)
