"""Trainings on a Ray cluster, by Ray Train.

Ray starts the workers wherever the cluster has room, connects them, and starts them
again when one is lost. Job, checkpoints and result are files: on a cluster of several
machines they must lie where all of them see them.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from sidiff.engines.cluster import cluster, uses_gpus
from sidiff.engines.processes import POLL_SECONDS
from sidiff.parameters import TrainingParameters

logger = logging.getLogger(__name__)


def run_on_ray(
    folder: Path,
    parameters: TrainingParameters,
    address: str | None,
    pass_on: Callable[[], None],
) -> None:
    """Run the job in ``folder`` and wait for it; ``pass_on`` is called now and then."""
    with cluster(address, parameters.workers) as ray:
        from ray.train import FailureConfig, RunConfig, ScalingConfig  # noqa: PLC0415
        from ray.train.torch import TorchTrainer  # noqa: PLC0415

        gpus = uses_gpus(ray, parameters.device, parameters.workers)
        trainer = TorchTrainer(
            _work,
            train_loop_config={"folder": str(folder)},
            scaling_config=ScalingConfig(num_workers=parameters.workers, use_gpu=gpus),
            run_config=RunConfig(
                storage_path=str(folder),
                failure_config=FailureConfig(max_failures=parameters.restarts),
            ),
        )
        # Beside this thread, to which MLflow's run belongs.
        fitting = threading.Thread(target=_fit, args=[trainer], daemon=True)
        fitting.start()
        while fitting.is_alive():
            pass_on()
            time.sleep(POLL_SECONDS)
        pass_on()


def _fit(trainer: Any) -> None:
    try:
        trainer.fit()
    except Exception as error:
        # Whether there is a result says whether it matters.
        logger.warning("Ray Train: %s", error)


def _work(settings: dict[str, str]) -> None:
    """What each worker runs, connected to the others."""
    from sidiff.engines.worker import work  # noqa: PLC0415 (imported where it runs)
    from sidiff.training.workers import Workers  # noqa: PLC0415

    if torch.cuda.is_available():
        from ray.train.torch import get_device  # noqa: PLC0415

        torch.cuda.set_device(get_device())
    work(Path(settings["folder"]), Workers.connected())
