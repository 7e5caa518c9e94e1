"""The denoiser's training from data to weights, whichever kind it is of."""

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
"""Parameters that do not decide what is learnt. The number of workers decides the
rounding; it is taken from the workers themselves."""


@dataclass(frozen=True)
class Fitted:
    """A trained denoiser.

    Attributes:
        weights: state of the best epoch, on the CPU.
        config: what ``network_from_saved`` needs, and how the weights came about.
        history: one row per epoch: loss, learning rate, validation metrics; the same
            for every run of the same settings.
        masking: what the noising masked in every epoch: epoch, of, value, share; see
            ``sidiff.training.denoising.MaskingLog.rows``.
    """

    weights: dict[str, Tensor]
    config: dict[str, Any]
    history: pl.DataFrame
    masking: pl.DataFrame


def fit(job: Job, on_epoch: OnEpoch, workers: Workers = ALONE) -> Fitted:
    """Train a denoiser and keep the weights of its best validated epoch.

    A run that was cut off goes on from its last checkpoint and ends as if it had not
    been, to the last bit on a CPU; one that was finished is not repeated.

    Args:
        job: data and settings.
        on_epoch: receives each epoch's figures; those of epochs before a resumption
            once more.
        workers: the processes that run this at once on the same job; all get the same
            weights, and the first alone writes, logs and calls ``on_epoch``.

    Raises:
        SidiffError: no samples, a setting that does not fit the data, a loss that is
            no number any more, or a checkpoint that cannot be written.
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
        kept = Checkpoints(
            job.checkpoints if workers.first else None,
            "Denoiser",
            decides,
            parameters.checkpoint_seconds,
        )
        trainer = Trainer(task, task.samples, budget_of(parameters), workers)
        trained = trainer.train(kept, on_epoch if workers.first else None)
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
    """The schedule that the parameters give."""
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
