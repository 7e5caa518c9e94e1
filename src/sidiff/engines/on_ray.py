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

import torch.distributed as dist

from sidiff.engines.cluster import cluster, uses_gpus
from sidiff.engines.exchange import Exchange, Mailbox, RayExchange, reported
from sidiff.engines.job import checkpoints_to_json, to_bytes
from sidiff.engines.processes import POLL_SECONDS
from sidiff.engines.worker import work
from sidiff.snapshots import SnapshotFolder
from sidiff.training.denoising import Job
from sidiff.training.workers import Workers

logger = logging.getLogger(__name__)


def run_on_ray(
    job: Job, forward: Callable[[Exchange], None], address: str | None
) -> bytes | None:
    """Run a job and wait for it; ``forward`` is called now and then.

    Returns:
        Its result; None if the workers were lost too often or refused.

    Raises:
        SidiffError: as ``cluster``.
    """
    parameters = job.parameters
    with cluster(address, parameters.workers) as ray, _runs(job.checkpoints) as notes:
        from ray.train import FailureConfig, RunConfig, ScalingConfig  # noqa: PLC0415
        from ray.train.torch import TorchTrainer  # noqa: PLC0415

        # Beside the workers' own CPUs: the actor only waits.
        place = checkpoints_to_json(job.checkpoints)
        actor = ray.remote(num_cpus=0)(Mailbox).remote(ray.put(to_bytes(job)), place)
        exchange = RayExchange(actor)
        gpus = uses_gpus(ray, parameters.device, parameters.workers)
        trainer = TorchTrainer(
            _work,
            train_loop_config={"desk": actor},
            scaling_config=ScalingConfig(num_workers=parameters.workers, use_gpu=gpus),
            run_config=RunConfig(
                failure_config=FailureConfig(max_failures=parameters.restarts), **notes
            ),
        )
        # Beside this thread, to which MLflow's run belongs.
        fitting = threading.Thread(target=_fit, args=[trainer], daemon=True)
        fitting.start()
        while fitting.is_alive():
            forward(exchange)
            time.sleep(POLL_SECONDS)
        forward(exchange)
        return exchange.result()


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
    """The work of each worker; Ray has connected it and chosen its GPU."""
    exchange = RayExchange(settings["desk"])
    with reported(exchange):
        workers = Workers(dist.get_rank(), dist.get_world_size())
        work(exchange.job(), exchange, workers)
