"""Trainings on a Ray cluster, by Ray Train.

Ray starts the workers wherever the cluster has room, connects them, and starts them
again when one is lost. Job, reports and result go through an actor of the cluster;
checkpoints lie where they always do, so a cluster of several machines needs a folder
that all of them mount, or an object store.
"""

from __future__ import annotations

import logging
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import torch

from sidiff.engines.cluster import cluster, uses_gpus
from sidiff.engines.exchange import Exchange, reported
from sidiff.engines.job import Job
from sidiff.engines.processes import POLL_SECONDS
from sidiff.snapshots import SnapshotFolder

logger = logging.getLogger(__name__)


def run_on_ray(
    job: Job, pass_on: Callable[[Exchange], None], address: str | None
) -> bytes | None:
    """Run a job and wait for it; ``pass_on`` is called now and then.

    Returns:
        Its result; None if the workers were lost too often or refused.

    Raises:
        SidiffError: as ``cluster``.
    """
    parameters = job.parameters
    with cluster(address, parameters.workers) as ray, _runs(job.checkpoints) as place:
        from ray.train import FailureConfig, RunConfig, ScalingConfig  # noqa: PLC0415
        from ray.train.torch import TorchTrainer  # noqa: PLC0415

        # Beside the workers' own CPUs: the actor only waits.
        held = ray.put(job.to_bytes())
        actor = ray.remote(num_cpus=0)(_Desk).remote(held, job.checkpoints_to_json())
        exchange = RayExchange(actor)
        gpus = uses_gpus(ray, parameters.device, parameters.workers)
        trainer = TorchTrainer(
            _work,
            train_loop_config={"desk": actor},
            scaling_config=ScalingConfig(num_workers=parameters.workers, use_gpu=gpus),
            run_config=RunConfig(
                failure_config=FailureConfig(max_failures=parameters.restarts), **place
            ),
        )
        # Beside this thread, to which MLflow's run belongs.
        fitting = threading.Thread(target=_fit, args=[trainer], daemon=True)
        fitting.start()
        while fitting.is_alive():
            pass_on(exchange)
            time.sleep(POLL_SECONDS)
        pass_on(exchange)
        return exchange.result()


class _Desk:
    """The mailbox between the workers and the process that asked; an actor of Ray."""

    def __init__(self, job: bytes, checkpoints: str) -> None:
        self._job, self._checkpoints = job, checkpoints
        self._events: list[tuple[str, Any]] = []
        self._result: bytes | None = None

    def job(self) -> bytes:
        return self._job

    def checkpoints(self) -> str:
        # Not with the job, which is large enough for Ray to lay it on a disk.
        return self._checkpoints

    def report(self, kind: str, content: Any) -> None:
        self._events.append((kind, content))

    def events(self, first: int) -> list[tuple[str, Any]]:
        return self._events[first:]

    def finish(self, result: bytes) -> None:
        self._result = result

    def result(self) -> bytes | None:
        return self._result


class RayExchange:
    """An actor of the cluster; see ``Exchange``."""

    def __init__(self, desk: Any) -> None:
        """Talk to the actor ``desk``."""
        import ray  # noqa: PLC0415 (an extra)

        self._desk, self._get = desk, ray.get
        self._read = 0

    def job(self) -> Job:
        """The job."""
        content = self._get(self._desk.job.remote())
        return Job.from_bytes(content, self._get(self._desk.checkpoints.remote()))

    def report(self, kind: str, content: Any) -> None:
        """Leave an event."""
        self._get(self._desk.report.remote(kind, content))

    def events(self) -> Iterator[tuple[str, Any]]:
        """The events since the last call on this object."""
        events = self._get(self._desk.events.remote(self._read))
        self._read += len(events)
        yield from events

    def finish(self, result: bytes) -> None:
        """Leave the result."""
        self._get(self._desk.finish.remote(result))

    def result(self) -> bytes | None:
        """The result; None while there is none."""
        found = self._get(self._desk.result.remote())
        return None if found is None else bytes(found)


@contextmanager
def _runs(checkpoints: SnapshotFolder | None) -> Iterator[dict[str, Any]]:
    """The folder of Ray Train's notes on a run, as arguments of its ``RunConfig``.

    All machines must see it, so it is beside the checkpoints; nothing of it is needed
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
        # Whether there is a result says whether it matters.
        logger.warning("Ray Train: %s", error)


def _work(settings: dict[str, Any]) -> None:
    """The work of each worker, connected to the others."""
    from sidiff.engines.worker import work  # noqa: PLC0415 (imported where it runs)
    from sidiff.training.workers import Workers  # noqa: PLC0415

    exchange = RayExchange(settings["desk"])
    if torch.cuda.is_available():
        from ray.train.torch import get_device  # noqa: PLC0415

        torch.cuda.set_device(get_device())
    with reported(exchange):
        work(exchange.job(), exchange, Workers.connected())
