"""Training of a denoiser, from data to weights."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from torch import Tensor

from sidiff.devices import cpu_threads
from sidiff.training.denoising import DenoiserTask, DigitTask, Job
from sidiff.training.joint import JointTask
from sidiff.training.progress import Checkpoints
from sidiff.training.settings import TrainingParameters
from sidiff.training.trainer import Budget, OnEpoch, Trainer
from sidiff.training.workers import ALONE, Workers

TASKS: dict[str, Callable[[Job], DenoiserTask]] = {
    "items": JointTask,
    "digits": DigitTask,
}
"""The tasks by ``training.network.posterior``."""
_WITHOUT_EFFECT = {"checkpoint_seconds", "engine", "workers", "restarts"}
"""Parameters that do not change the weights. The number of workers, which changes the
rounding, comes from the engine."""


@dataclass(frozen=True)
class Fitted:
    """A trained denoiser.

    Attributes:
        weights: state of the best epoch, on the CPU.
        config: input of ``network_from_saved``, and the origin of the weights.
        history: one row per epoch: loss, learning rate, validation metrics.
        masking: shares of masked digits in every epoch, see
            ``sidiff.training.denoising.MaskingLog.rows``.
    """

    weights: dict[str, Tensor]
    config: dict[str, Any]
    history: pl.DataFrame
    masking: pl.DataFrame


def fit(job: Job, on_epoch: OnEpoch, workers: Workers = ALONE) -> Fitted:
    """Train a denoiser and return the weights of its best validated epoch.

    An interrupted run continues from its last checkpoint, on a CPU with the same bits
    as a whole run. A finished run is not repeated.

    Args:
        job: data and settings.
        on_epoch: receives each epoch's figures; after a resumption also those of the
            earlier epochs.
        workers: the processes that train together; all return the same weights, and
            the first one writes, logs and calls ``on_epoch``.

    Raises:
        SidiffError: there are no samples, a setting does not fit the data, the loss is
            not finite, or a checkpoint cannot be written.
    """
    parameters = job.parameters
    with cpu_threads(parameters.threads):
        task = TASKS[parameters.network.posterior](job)
        decides = {
            "model": "denoiser",
            "parameters": parameters.model_dump(exclude=_WITHOUT_EFFECT),
            "workers": workers.size,
            "max_history": job.max_history,
            "sequences": job.sequences.fingerprint,
            "sid_table": job.table.fingerprint,
            "samples": samples_fingerprint(task.samples),
        }
        checkpoints = Checkpoints(
            job.checkpoints if workers.first else None,
            "Denoiser",
            decides,
            parameters.checkpoint_seconds,
        )
        trainer = Trainer(task, task.samples, budget_of(parameters), workers)
        trained = trainer.train(checkpoints, on_epoch if workers.first else None)
    config = task.network.saved_config() | {
        "sid_table": job.table.fingerprint,
        "sequences": job.sequences.fingerprint,
        "known_items": task.known_items,
        "seed": parameters.seed,
        "best_epoch": trained.epoch,
        "best_score": trained.score,
        "epochs_run": trained.epochs_run,
        "parameters": sum(p.numel() for p in task.network.parameters()),
    }
    return Fitted(
        trained.weights,
        config,
        pl.DataFrame(trained.rows, infer_schema_length=None),
        pl.DataFrame(trained.notes),
    )


def budget_of(parameters: TrainingParameters) -> Budget:
    """The budget of a denoiser's training."""
    return Budget(
        parameters.optimizer,
        parameters.validation,
        parameters.batch_size,
        parameters.samples_per_pass,
        parameters.epochs,
        parameters.seed,
        "training",
    )


def samples_fingerprint(samples: NDArray[np.int32]) -> str:
    """SHA-256 (hex) of training windows ``(S, 3)`` in their order."""
    return hashlib.sha256(samples.astype("<i4").tobytes()).hexdigest()
