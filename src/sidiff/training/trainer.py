"""The training loop of all networks.

A batch is sorted by history length and split into passes of at most
``samples_per_pass`` samples, whose gradients add up to that of the whole batch. Short
histories are so not padded to the longest one, and memory is bounded. The random
numbers of a pass follow from seed, step and pass alone: neither a resumption nor the
number of workers changes them.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from tqdm.auto import tqdm

from sidiff.diffusion.objective import Loss
from sidiff.errors import SidiffError
from sidiff.snapshots import decode, encode
from sidiff.training.progress import (
    Checkpoints,
    EarlyStopping,
    Progress,
    cpu_weights,
)
from sidiff.training.settings import OptimizerParameters, StoppingParameters
from sidiff.training.workers import ALONE, Workers

logger = logging.getLogger(__name__)

SCORE_CUTOFF = 10
"""The k of the validation metrics."""
SCORE = "validation/score"
"""Name of the figure by which the best epoch is chosen; higher is better."""
OnEpoch = Callable[[int, dict[str, float]], None]
"""Called after every epoch (from 1) with its figures."""


@dataclass(frozen=True)
class Budget:
    """The length and the steps of a training.

    Attributes:
        optimizer: AdamW and its schedule.
        stopping: epochs of validation, and early stopping.
        batch_size: samples per optimiser step.
        samples_per_pass: samples in one forward and backward pass.
        epochs: largest number of passes over the samples.
        seed: of the order of the samples and the random numbers of a pass.
        group: name of the parameters' group, for messages.
    """

    optimizer: OptimizerParameters
    stopping: StoppingParameters
    batch_size: int
    samples_per_pass: int
    epochs: int
    seed: int
    group: str


class Task:
    """A network with its loss and its validation.

    Attributes:
        label: name in the progress bar and in log lines.
        model: the network, trained in place.
        noise: generator of all random numbers of ``loss`` except dropout.
        counts: counts over an epoch by name, stored in checkpoints.
    """

    def __init__(self, label: str, model: nn.Module, device: torch.device) -> None:
        self.label = label
        self.model = model
        self.device = device
        self.noise = torch.Generator(device)
        self.counts: dict[str, Tensor] = {}

    def loss(self, samples: Tensor, progress: float) -> Loss:
        """The loss of samples ``(B, 3)``; ``progress`` is the share of steps done."""
        raise NotImplementedError

    def validate(self, workers: Workers) -> dict[str, float]:
        """Validation figures of the network in evaluation mode, with ``SCORE``."""
        raise NotImplementedError

    def end_step(self, workers: Workers) -> None:
        """Hook after an optimiser step."""

    def notes(self, epoch: int) -> list[dict[str, Any]]:
        """Additional rows on an epoch."""
        return []


@dataclass(frozen=True)
class Trained:
    """The outcome of a training.

    Attributes:
        weights: state of the best validated epoch, on the CPU.
        score: its validation score.
        epoch: its number, from 1.
        rows: figures of all epochs.
        notes: the task's additional rows on all epochs.
    """

    weights: dict[str, Tensor]
    score: float
    epoch: int
    rows: list[dict[str, Any]]
    notes: list[dict[str, Any]]

    @property
    def epochs_run(self) -> int:
        """Number of trained epochs."""
        return len(self.rows)


class Trainer:
    """One training run."""

    def __init__(
        self,
        task: Task,
        samples: NDArray[np.int32],
        budget: Budget,
        workers: Workers = ALONE,
    ) -> None:
        """Prepare a run.

        Args:
            task: the network and its loss.
            samples: ``(S, 3)``: user, start, end.
            budget: the schedule.
            workers: the processes that train together.
        """
        self.task = task
        self.samples = torch.from_numpy(samples)
        self.budget = budget
        self.workers = workers
        self.optimizer = torch.optim.AdamW(
            task.model.parameters(),
            lr=budget.optimizer.learning_rate,
            weight_decay=budget.optimizer.weight_decay,
            fused=True,
        )
        self.progress = Progress(
            task.model,
            self.optimizer,
            EarlyStopping(budget.stopping),
            torch.Generator().manual_seed(budget.seed),
            task.device,
            task.counts,
        )
        self.steps = -(-len(samples) // budget.batch_size) * budget.epochs

    def train(
        self, checkpoints: Checkpoints, on_epoch: OnEpoch | None = None
    ) -> Trained:
        """Train until the budget is spent or validation no longer improves.

        Args:
            checkpoints: where progress is stored.
            on_epoch: receives each epoch's figures; after a resumption also those of
                the earlier epochs.

        Raises:
            SidiffError: the loss is not finite, or a checkpoint cannot be written.
        """
        progress, budget = self.progress, self.budget
        checkpoints.resume(progress)
        if self.workers.size > 1:
            # All workers start from the progress of the first one.
            content = encode(progress.snapshot()) if self.workers.first else b""
            content = self.workers.from_first(content, self.task.device)
            if not self.workers.first:
                progress.restore(decode(content))
        on_epoch = on_epoch or (lambda epoch, figures: None)
        for row in progress.rows:
            on_epoch(row["epoch"], {k: v for k, v in row.items() if k != "epoch"})
        size = len(self.samples)
        with tqdm(
            total=size * budget.epochs,
            initial=size * progress.epochs + progress.batch * budget.batch_size,
            desc=self.task.label,
            unit=" samples",
            unit_scale=True,
            disable=None if self.workers.first else True,
        ) as bar:
            while not progress.finished:
                self._train_epoch(bar, checkpoints, on_epoch)
        stopping = progress.stopping
        return Trained(
            progress.best,
            stopping.best_score,
            stopping.best_epoch,
            progress.rows,
            progress.notes,
        )

    def _train_epoch(
        self, bar: tqdm, checkpoints: Checkpoints, on_epoch: OnEpoch
    ) -> None:
        """Train the rest of the current epoch, and validate."""
        progress, budget, task = self.progress, self.budget, self.task
        epoch = progress.epochs + 1
        start = time.perf_counter()
        left = max(0, len(self.samples) - progress.batch * budget.batch_size)
        figures = self.epoch(bar, checkpoints)
        if not math.isfinite(figures["train/loss"]):
            raise SidiffError(
                f"The training of {task.label} diverged: in epoch {epoch} the loss is "
                f"{figures['train/loss']}; lower {budget.group}.optimizer.learning_rate"
                f" ({budget.optimizer.learning_rate}) or raise "
                f"{budget.group}.optimizer.warmup_steps."
            )
        rate = left / (time.perf_counter() - start)
        bar.set_postfix_str(f"epoch {epoch}, loss {figures['train/loss']:.3f}")
        if progress.stopping.due(epoch, budget.epochs):
            task.model.eval()
            figures |= task.validate(self.workers)
            if self.workers.first:
                logger.info(
                    "%s, epoch %d of %d: loss %.3f, validation score %.4f, "
                    "%.0f samples/s",
                    task.label,
                    epoch,
                    budget.epochs,
                    figures["train/loss"],
                    figures[SCORE],
                    rate,
                )
            if progress.stopping.update(epoch, figures[SCORE]):
                progress.best = cpu_weights(task.model)
        progress.end_epoch({"epoch": epoch} | figures, task.notes(epoch))
        progress.finished = epoch == budget.epochs or progress.stopping.exhausted
        checkpoints.write(progress)
        on_epoch(epoch, figures | {"train/samples_per_second": rate})

    def epoch(self, bar: tqdm, checkpoints: Checkpoints) -> dict[str, float]:
        """Train the rest of a pass over the samples in a new random order."""
        progress, schedule = self.progress, self.budget.optimizer
        self.task.model.train()
        for batch in progress.batches(self.samples, self.budget.batch_size):
            loss = self.step(batch, learning_rate(progress.step, self.steps, schedule))
            progress.advance(loss.total, loss.weight)
            bar.update(len(batch))
            checkpoints.write(progress, if_due=True)
        # The rate of the last step, which may have been taken before a crash.
        rate = learning_rate(progress.step - 1, self.steps, schedule)
        total, weight = progress.sums
        return {"train/loss": float(total / weight), "train/learning_rate": rate}

    def step(self, batch: Tensor, rate: float) -> Loss:
        """One optimiser step on ``batch`` ``(B, 3)`` at learning rate ``rate``."""
        task, weights = self.task, list(self.task.model.parameters())
        total = torch.zeros((), device=task.device)
        weight = torch.zeros((), device=task.device)
        parts = by_length(batch, self.budget.samples_per_pass)
        for number, part in self.workers.share(parts):
            self._seed_draws(number)
            loss = task.loss(part, self.progress.step / self.steps)
            loss.total.backward()
            total += loss.total.detach()
            weight += loss.weight
        self.workers.add_up_gradients(weights)
        self.workers.add_up([total, weight])
        task.end_step(self.workers)
        gradients = [p.grad for p in weights if p.grad is not None]
        torch._foreach_div_(gradients, weight)
        torch.nn.utils.clip_grad_norm_(weights, self.budget.optimizer.max_gradient_norm)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return Loss(total, weight)

    def _seed_draws(self, part: int) -> None:
        """Seed noise and dropout by the run's seed, the step and the part of the batch.

        They do not depend on the worker that has the part, nor on a resumption.
        """
        source = np.random.SeedSequence([self.budget.seed, self.progress.step, part])
        noise, dropout = source.generate_state(2, np.uint64).tolist()
        self.task.noise.manual_seed(noise)
        if self.task.device.type == "cuda":
            torch.cuda.manual_seed(dropout)
        else:
            # torch.manual_seed would seed every kind of device, which takes long.
            torch.default_generator.manual_seed(dropout)


def by_length(batch: Tensor, samples_per_pass: int) -> tuple[Tensor, ...]:
    """Split a batch ``(B, 3)`` into parts of similar history length."""
    lengths = batch[:, 2] - batch[:, 1]
    return batch[lengths.argsort(dim=0, stable=True)].split(samples_per_pass)


def learning_rate(
    step: int, total_steps: int, parameters: OptimizerParameters
) -> float:
    """Learning rate of optimiser step ``step`` (from 0).

    Linear warm-up from 0 over ``warmup_steps``, then half a cosine that reaches 0 at
    ``total_steps``. In the papers' settings the warm-up is longer than the run.
    """
    peak = parameters.learning_rate
    if step < parameters.warmup_steps:
        return peak * step / parameters.warmup_steps
    progress = (step - parameters.warmup_steps) / max(
        1, total_steps - parameters.warmup_steps
    )
    return peak * 0.5 * (1.0 + math.cos(math.pi * min(1.0, progress)))
