"""Training on a Ray cluster, by Ray Train.

Ray places the workers, connects them, and starts them again when one is lost. Job,
events and result go through an actor of the cluster. Checkpoints are in their
configured folder, so several machines need a shared folder or an object store.
"""

from __future__ import annotations

import logging
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from sidiff.engines.cluster import cluster, uses_gpus
from sidiff.engines.exchange import Exchange, Mailbox, RayExchange, reported
from sidiff.engines.job import checkpoints_to_json, to_bytes
from sidiff.engines.worker import work
from sidiff.snapshots import SnapshotFolder
from sidiff.training.denoising import Job

logger = logging.getLogger(__name__)


def run_on_ray(
    job: Job,
    follow: Callable[[Exchange, Callable[[], bool]], None],
    address: str | None,
) -> bytes | None:
    """Run a job and wait for it.

    Args:
        job: data and settings.
        follow: handles the events of an exchange while a function returns True.
        address: see ``cluster``.

    Returns:
        The result; None if the workers failed too often or reported ``REFUSED``.

    Raises:
        SidiffError: as ``cluster``.
    """
    parameters = job.parameters
    with (
        cluster(address, parameters.workers) as ray,
        _storage(job.checkpoints) as storage,
    ):
        from ray.train import FailureConfig, RunConfig, ScalingConfig  # noqa: PLC0415
        from ray.train.torch import TorchTrainer  # noqa: PLC0415

        # The actor needs no CPU: all of them are for the workers.
        checkpoints = checkpoints_to_json(job.checkpoints)
        mailbox = ray.remote(num_cpus=0)(Mailbox).remote(
            ray.put(to_bytes(job)), checkpoints
        )
        exchange = RayExchange(mailbox)
        gpus = uses_gpus(ray, parameters.device, parameters.workers)
        trainer = TorchTrainer(
            _work,
            train_loop_config={"mailbox": mailbox},
            scaling_config=ScalingConfig(num_workers=parameters.workers, use_gpu=gpus),
            run_config=RunConfig(
                failure_config=FailureConfig(max_failures=parameters.restarts),
                **storage,
            ),
        )
        # In another thread, because MLflow's run belongs to this one.
        fitting = threading.Thread(target=_fit, args=[trainer], daemon=True)
        fitting.start()
        follow(exchange, fitting.is_alive)
        return exchange.result()


@contextmanager
def _storage(checkpoints: SnapshotFolder | None) -> Iterator[dict[str, Any]]:
    """The temporary folder of Ray Train, as arguments of its ``RunConfig``.

    All machines must see it, so it is next to the checkpoints.
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
        # The caller decides by the result, which may be complete already.
        logger.warning("Ray Train: %s", error)


def _work(settings: dict[str, Any]) -> None:
    """Run one worker, which Ray has connected and given its GPU."""
    exchange = RayExchange(settings["mailbox"])
    with reported(exchange):
        work(exchange.job(), exchange)
