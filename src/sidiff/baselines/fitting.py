"""The training loop that the trained baselines share."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from tqdm.auto import tqdm

from sidiff.diffusion.objective import Loss
from sidiff.errors import SidiffError
from sidiff.parameters import OptimizerParameters, StoppingParameters
from sidiff.training.loop import by_length
from sidiff.training.progress import Checkpoints, Progress, cpu_weights
from sidiff.training.schedule import EarlyStopping, learning_rate

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Budget:
    """How long and in what steps a model is trained.

    Attributes:
        optimizer: AdamW and its schedule.
        stopping: when it is validated.
        batch_size: samples per optimiser step.
        samples_per_pass: samples that go through the network at once.
        epochs: passes over the samples, at most.
    """

    optimizer: OptimizerParameters
    stopping: StoppingParameters
    batch_size: int
    samples_per_pass: int
    epochs: int


@dataclass(frozen=True)
class Trained:
    """The weights of the best validated epoch.

    Attributes:
        weights: state of the model, on the CPU.
        score: its validation score.
        epoch: the epoch it was reached in, from 1.
        epochs_run: epochs trained in all.
    """

    weights: dict[str, Tensor]
    score: float
    epoch: int
    epochs_run: int


def train(
    model: nn.Module,
    samples: NDArray[np.int32],
    loss: Callable[[Tensor], Loss],
    score: Callable[[], float],
    budget: Budget,
    seed: int,
    label: str,
    kept: Checkpoints,
) -> Trained:
    """Minimise a loss and keep the weights of the best validated epoch.

    Args:
        model: what is trained, in place.
        samples: ``(S, 3)``: user, start, end.
        loss: of some samples ``(B, 3)``, as sum and weight.
        score: validation score of the model as it stands; higher is better.
        budget: the schedule.
        seed: of the samples' order.
        label: names the progress bar and the log lines.
        kept: where the progress is written down, after every epoch.

    Raises:
        SidiffError: there are no samples.
    """
    if len(samples) == 0:
        raise SidiffError(
            f"There is nothing to train {label} on: every user is too short; bring "
            f"longer histories or take {label} out of baselines.methods."
        )
    order = torch.Generator().manual_seed(seed)
    rows = torch.from_numpy(samples)
    optimizer = torch.optim.AdamW(
        model.parameters(),
        lr=budget.optimizer.learning_rate,
        weight_decay=budget.optimizer.weight_decay,
        fused=True,
    )
    steps = -(-len(samples) // budget.batch_size) * budget.epochs
    stopping = EarlyStopping(budget.stopping)
    device = next(model.parameters()).device
    progress = Progress(model, optimizer, stopping, order, device)
    kept.resume(progress)
    with tqdm(
        total=len(samples) * budget.epochs,
        initial=len(samples) * progress.epochs,
        desc=label,
        unit=" samples",
        unit_scale=True,
        disable=None,
    ) as bar:
        while not progress.finished:
            epoch = progress.epochs + 1
            model.train()
            for batch in progress.batches(rows, budget.batch_size):
                for group in optimizer.param_groups:
                    group["lr"] = learning_rate(progress.step, steps, budget.optimizer)
                progress.advance(*_step(model, optimizer, batch, loss, budget))
                bar.update(len(batch))
            if stopping.due(epoch, budget.epochs):
                model.eval()
                value = score()
                logger.info(
                    "%s, epoch %d of %d: loss %.3f, validation NDCG@10 %.4f",
                    label,
                    epoch,
                    budget.epochs,
                    float(progress.sums[0] / progress.sums[1]),
                    value,
                )
                if stopping.update(epoch, value):
                    progress.best = cpu_weights(model)
            progress.end_epoch({"epoch": epoch})
            progress.finished = epoch == budget.epochs or stopping.exhausted
            kept.write(progress)
    return Trained(
        progress.best, stopping.best_score, stopping.best_epoch, progress.epochs
    )


def _step(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    batch: Tensor,
    loss: Callable[[Tensor], Loss],
    budget: Budget,
) -> Tensor:
    """One optimiser step on ``batch`` ``(B, 3)``; its loss as sum and weight."""
    seen = torch.zeros(2)
    for part in by_length(batch, budget.samples_per_pass):
        total, weight = loss(part)
        total.backward()
        seen += torch.stack([total.detach(), weight]).cpu()
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    torch._foreach_div_(gradients, float(seen[1]))
    torch.nn.utils.clip_grad_norm_(
        model.parameters(), budget.optimizer.max_gradient_norm
    )
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return seen
