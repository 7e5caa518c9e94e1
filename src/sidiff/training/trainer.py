"""The training loop of every network: samples in, best weights and a history out.

A batch is sorted by history length and cut into passes of at most
``samples_per_pass`` samples whose gradients add up: the step is that of the whole
batch, but short histories are not padded to the longest one, and memory stays bounded.
What is drawn in a pass follows from seed, step and pass alone, so that a run that was
cut off ends as if it had not been, and workers change nothing.
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
"""Figure that decides which epoch is kept; higher is better."""
OnEpoch = Callable[[int, dict[str, float]], None]
"""Called after every epoch (from 1) with its figures."""


@dataclass(frozen=True)
class Budget:
    """The budget of a training: its length and steps.

    Attributes:
        optimizer: AdamW and its schedule.
        stopping: when it is validated.
        batch_size: samples per optimiser step.
        samples_per_pass: samples that go through the network at once.
        epochs: passes over the samples, at most.
        seed: of the samples' order and of what is drawn in a pass.
        group: of the parameters, for messages.
    """

    optimizer: OptimizerParameters
    stopping: StoppingParameters
    batch_size: int
    samples_per_pass: int
    epochs: int
    seed: int
    group: str


class Task:
    """One network and what it is trained to do.

    Attributes:
        label: names the progress bar and the log lines.
        model: what is trained, in place.
        noise: generator of all that ``loss`` draws but dropout.
        counts: what is counted over an epoch, by name; part of a checkpoint.
    """

    def __init__(self, label: str, model: nn.Module, device: torch.device) -> None:
        self.label = label
        self.model = model
        self.device = device
        self.noise = torch.Generator(device)
        self.counts: dict[str, Tensor] = {}

    def loss(self, samples: Tensor, progress: float) -> Loss:
        """The loss of ``samples`` ``(B, 3)``, with ``progress`` of the run done."""
        raise NotImplementedError

    def validate(self, workers: Workers) -> dict[str, float]:
        """Figures of the network as it stands, in evaluation mode, with ``SCORE``."""
        raise NotImplementedError

    def end_step(self, workers: Workers) -> None:
        """The work after an optimiser step; nothing here."""

    def notes(self, epoch: int) -> list[dict[str, Any]]:
        """Further rows on an epoch; none here."""
        return []


@dataclass(frozen=True)
class Trained:
    """The outcome of a training.

    Attributes:
        weights: state of the best validated epoch, on the CPU.
        score: its validation score.
        epoch: the epoch it was reached in, from 1.
        rows: figures of all epochs.
        notes: the task's further rows on them.
    """

    weights: dict[str, Tensor]
    score: float
    epoch: int
    rows: list[dict[str, Any]]
    notes: list[dict[str, Any]]

    @property
    def epochs_run(self) -> int:
        """Epochs trained in all."""
        return len(self.rows)


class Trainer:
    """Optimiser, order and progress of one run."""

    def __init__(
        self,
        task: Task,
        samples: NDArray[np.int32],
        budget: Budget,
        workers: Workers = ALONE,
    ) -> None:
        """Begin a run.

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

    def train(self, kept: Checkpoints, on_epoch: OnEpoch | None = None) -> Trained:
        """Train until the budget is spent or validation no longer improves.

        Progress is written down where ``kept`` says; ``on_epoch`` receives each
        epoch's figures, those of epochs before a resumption once more.

        Raises:
            SidiffError: a loss that is no number any more, or a checkpoint that
                cannot be written.
        """
        progress, budget = self.progress, self.budget
        kept.resume(progress)
        if self.workers.size > 1:
            # Every worker begins where the first one does.
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
                self._train_epoch(bar, kept, on_epoch)
        stopping = progress.stopping
        return Trained(
            progress.best,
            stopping.best_score,
            stopping.best_epoch,
            progress.rows,
            progress.notes,
        )

    def _train_epoch(self, bar: tqdm, kept: Checkpoints, on_epoch: OnEpoch) -> None:
        """The rest of the epoch that runs, and its validation."""
        progress, budget, task = self.progress, self.budget, self.task
        epoch = progress.epochs + 1
        began = time.perf_counter()
        left = max(0, len(self.samples) - progress.batch * budget.batch_size)
        figures = self.epoch(bar, kept)
        if not math.isfinite(figures["train/loss"]):
            raise SidiffError(
                f"The training of {task.label} diverged: in epoch {epoch} the loss is "
                f"{figures['train/loss']}; lower {budget.group}.optimizer.learning_rate"
                f" ({budget.optimizer.learning_rate}) or raise "
                f"{budget.group}.optimizer.warmup_steps."
            )
        rate = left / (time.perf_counter() - began)
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
        kept.write(progress)
        on_epoch(epoch, figures | {"train/samples_per_second": rate})

    def epoch(self, bar: tqdm, kept: Checkpoints) -> dict[str, float]:
        """The rest of a pass over the samples in a fresh random order."""
        progress, schedule = self.progress, self.budget.optimizer
        self.task.model.train()
        for batch in progress.batches(self.samples, self.budget.batch_size):
            loss = self.step(batch, learning_rate(progress.step, self.steps, schedule))
            progress.advance(loss.total, loss.weight)
            bar.update(len(batch))
            kept.write(progress, if_due=True)
        # Of the last step, which may have been taken before a crash.
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
        """Let noise and dropout follow from seed, step and part of the batch alone.

        So they are the same whichever worker has the part, and after a resumption.
        """
        source = np.random.SeedSequence([self.budget.seed, self.progress.step, part])
        noise, dropout = source.generate_state(2, np.uint64).tolist()
        self.task.noise.manual_seed(noise)
        if self.task.device.type == "cuda":
            torch.cuda.manual_seed(dropout)
        else:
            # Not torch.manual_seed, which sees to every kind of device each time.
            torch.default_generator.manual_seed(dropout)


def by_length(batch: Tensor, samples_per_pass: int) -> tuple[Tensor, ...]:
    """Cut a batch ``(B, 3)`` into parts of similar history length."""
    lengths = batch[:, 2] - batch[:, 1]
    return batch[lengths.argsort(dim=0, stable=True)].split(samples_per_pass)


def learning_rate(
    step: int, total_steps: int, parameters: OptimizerParameters
) -> float:
    """Rate at optimiser step ``step`` (from 0).

    Linear warm-up from 0 over ``warmup_steps``, then half a cosine that reaches 0 at
    ``total_steps``. A warm-up longer than the run never ends, as in the
    papers' settings.
    """
    peak = parameters.learning_rate
    if step < parameters.warmup_steps:
        return peak * step / parameters.warmup_steps
    progress = (step - parameters.warmup_steps) / max(
        1, total_steps - parameters.warmup_steps
    )
    return peak * 0.5 * (1.0 + math.cos(math.pi * min(1.0, progress)))
