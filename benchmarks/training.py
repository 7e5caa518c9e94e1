"""Training: samples per second of sidiff's optimiser steps and of Cornac's.

Both train one epoch on the same samples: the paper's network for Beauty, OCN with four
nested views, mean loss per view, clipped AdamW. First losses and gradients are compared
with equal weights and masked digits. Then their epochs take turns with a matrix
product, which measures the machine.

``sidiff_default`` trains the network and the objective of ``kedro run --env=beauty``,
where a sample is a user's sequence with a target at every position.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm.auto import tqdm

from benchmarks import flops, inputs, peer
from benchmarks.common import (
    Contestant,
    Row,
    hardware,
    medians,
    paired,
    parser,
    peak_memory,
    positive,
    publish,
    speedup,
    timed,
)
from benchmarks.inputs import MAX_HISTORY, Shop
from sidiff.diffusion.noising.context import NoisingContext
from sidiff.reviews.sequences import training_samples
from sidiff.training.denoising import DigitTask, Job, MaskingLog
from sidiff.training.joint import JointTask
from sidiff.training.loop import budget_of
from sidiff.training.progress import Checkpoints
from sidiff.training.settings import TrainingParameters
from sidiff.training.trainer import Trainer

MIN_HISTORY = 2
SEVERAL = 6
"""Epochs after which memory is looked at again."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and publish."""
    options = parser("training", __doc__)
    inputs.add_shop(options, users=256)
    inputs.add_network(options)
    options.add_argument(
        "--batch", type=positive, default=256, help="samples per optimiser step"
    )
    options.add_argument(
        "--samples-per-pass", type=positive, default=128, help="of ours; see conf"
    )
    options.add_argument(
        "--matmul", type=positive, default=2048, help="size of the matrix products"
    )
    options.add_argument(
        "--widths", type=positive, nargs="*", default=[64, 128, 512], help="also tried"
    )
    options.add_argument(
        "--digit-counts", type=positive, nargs="*", default=[8], help="also tried"
    )
    options.add_argument(
        "--memory", action="store_true", help="peak memory, an epoch each in a process"
    )
    settings = options.parse_args(arguments)
    torch.set_num_threads(settings.threads)
    machine = hardware()
    shop = inputs.load_shop(settings, options)
    parameters = inputs.training_parameters(
        {
            "network": inputs.network_changes(settings),
            "batch_size": settings.batch,
            "samples_per_pass": settings.samples_per_pass,
            "seed": settings.seed,
        }
    )
    lowered = parameters.model_copy(update={"precision": "bfloat16"})
    trainer, task, samples = prepare(shop, parameters)
    figures: dict[str, Any] = {
        "samples": len(samples),
        "steps": -(-len(samples) // settings.batch),
        "parameters": sum(p.numel() for p in task.denoiser.parameters()),
    }
    if peer.available():
        figures["agreement"] = agreement(shop, parameters, settings.batch)
    contestants: dict[str, Contestant] = {
        "sidiff": timed(epoch(trainer)),
        "sidiff_bfloat16": timed(epoch(prepare(shop, lowered)[0])),
    }
    default, sequences = prepare_default(shop, inputs.default_training(settings))
    contestants["sidiff_default"] = timed(epoch(default))
    if peer.available():
        contestants["cornac"] = peer.training(shop, parameters)
    work = {name: flops.count(one) for name, one in contestants.items()}
    seconds = paired(contestants | flops.matmuls(settings.matmul), settings.rounds)
    reached = _matmul_rate(seconds, settings.matmul)
    figures["speedup_vs_cornac"] = speedup(seconds, "sidiff", "cornac")
    figures["speedup_of_bfloat16"] = speedup(seconds, "sidiff_bfloat16", "sidiff")
    figures["matmul_gflops"] = reached
    middle = medians(seconds)
    rows = [
        _row(name, len(samples), work[name], middle[name], reached)
        for name in contestants
        if name != "sidiff_default"
    ]
    if settings.memory:
        makers = {
            "sidiff": (_prepare_ours, parameters),
            "sidiff_bfloat16": (_prepare_ours, lowered),
            "cornac": (_prepare_theirs, parameters),
        }
        for row in rows:
            maker, theirs = makers[row["method"]]
            row["added_mib"] = peak_memory(maker, shop, theirs)
            if maker is _prepare_ours:
                name = f"added_mib_{SEVERAL}_epochs"
                row[name] = peak_memory(maker, shop, theirs, SEVERAL)
    figures["training"] = rows
    figures["share_of_matmul"] = rows[0]["share_of_matmul"]
    name = "sidiff_default"
    row = _row(name, len(sequences), work[name], middle[name], reached)
    targets = int((sequences[:, 2] - sequences[:, 1]).sum())
    figures["default"] = [row | {"targets_per_second": targets / middle[name]}]
    figures["growth"] = growth(settings, parameters, reached)
    publish(settings, machine, figures)


def prepare(
    shop: Shop, parameters: TrainingParameters
) -> tuple[Trainer, DigitTask, NDArray[np.int32]]:
    """Trainer and task as ``sidiff.training.loop.fit`` makes them; samples (S, 3)."""
    samples = training_samples(shop.sequences, "prefix", MIN_HISTORY, MAX_HISTORY)
    task = DigitTask(Job(shop.sequences, samples, shop.table, parameters, MAX_HISTORY))
    return Trainer(task, samples, budget_of(parameters)), task, samples


def prepare_default(
    shop: Shop, parameters: TrainingParameters
) -> tuple[Trainer, NDArray[np.int32]]:
    """Trainer of the posterior over items, and its sequences (S, 3)."""
    nothing = np.empty((0, 3), dtype=np.int32)
    task = JointTask(Job(shop.sequences, nothing, shop.table, parameters, MAX_HISTORY))
    return Trainer(task, task.samples, budget_of(parameters)), task.samples


def epoch(trainer: Trainer) -> Callable[[], object]:
    """One pass over the trainer's samples."""
    nowhere = Checkpoints(None, "Benchmark", {}, math.inf)

    def once() -> None:
        figures = trainer.epoch(tqdm(disable=True), nowhere)
        trainer.progress.end_epoch(figures)

    return once


class _Recorder(MaskingLog):
    """Keeps the digits that were masked last, ``(B, V, L)``."""

    masked: Tensor

    def add(self, context: NoisingContext, masked: Tensor) -> None:
        self.masked = masked
        super().add(context, masked)


def agreement(shop: Shop, parameters: TrainingParameters, size: int) -> Row:
    """Losses and gradients of one batch, same weights and masked digits, no dropout.

    Returns:
        Both losses and their difference; the largest difference of any weight's
        gradient, relative to the largest gradient; and for how many samples Cornac's
        network on its own would have masked the same digits.
    """
    _, task, samples = prepare(shop, parameters)
    samples = samples[:size]
    task.masking = recorder = _Recorder(shop.table.digits, task.device)
    task.denoiser.eval()
    batch = task.histories.gather(torch.from_numpy(samples))
    loss = task.loss(torch.from_numpy(samples), 0.0)
    ours = loss.total / loss.weight
    ours.backward()
    ours = ours.detach()
    backbone = peer.network(
        task.denoiser,
        shop.table.codes,
        n_views=parameters.noising.views,
        label_smoothing=parameters.label_smoothing,
    )
    theirs_in = peer.histories(shop.sequences, samples, len(shop.table.codes))
    with torch.no_grad():
        memory, pads = backbone.encode_history(*theirs_in)
        own_masks = backbone.training_masks(memory, pads, batch.targets)
    backbone.training_masks = lambda *_: recorder.masked
    theirs = backbone(*theirs_in, batch.targets)
    theirs.backward()
    theirs = theirs.detach()
    gradients = {
        name: weight.grad
        for name, weight in task.denoiser.named_parameters()
        if weight.grad is not None
    }
    expected = {name: weight.grad for name, weight in backbone.named_parameters()}
    renamed = peer.renamed(gradients, task.denoiser.config)
    largest = max(float(gradient.abs().max()) for gradient in expected.values())
    return {
        "loss_sidiff": float(ours),
        "loss_cornac": float(theirs),
        "loss_difference": abs(float(ours) - float(theirs)),
        "gradient_difference": max(
            float((renamed[name] - gradient).abs().max()) / largest
            for name, gradient in expected.items()
        ),
        "same_digits": float(
            (own_masks == recorder.masked).flatten(1).all(1).float().mean()
        ),
    }


def growth(settings: Any, parameters: TrainingParameters, reached: float) -> list[Row]:
    """Our cost at other widths (d_ff is four times as wide) and numbers of digits."""
    points = [(width, settings.digits) for width in settings.widths]
    points += [(settings.d_model, digits) for digits in settings.digit_counts]
    rows = []
    for width, digits in points:
        shop = inputs.synthetic_shop(
            settings.users, settings.items, digits, settings.codes, settings.seed
        )
        network = parameters.network.model_copy(
            update={"d_model": width, "d_ff": 4 * width}
        )
        trainer, task, samples = prepare(
            shop, parameters.model_copy(update={"network": network})
        )
        work = flops.count(epoch(trainer))
        seconds = medians(paired({"sidiff": timed(epoch(trainer))}, settings.rounds))
        weights = sum(p.numel() for p in task.denoiser.parameters())
        row = _row("sidiff", len(samples), work, seconds["sidiff"], reached)
        shape = {"d_model": width, "digits": digits, "parameters": weights}
        rows.append(shape | {k: v for k, v in row.items() if k != "method"})
    return rows


def _row(method: str, samples: int, work: int, seconds: float, reached: float) -> Row:
    return {
        "method": method,
        "samples_per_second": samples / seconds,
        "mflop_per_sample": work / samples / 1e6,
        "gflops": work / seconds / 1e9,
        "share_of_matmul": work / seconds / 1e9 / reached,
    }


def _matmul_rate(seconds: dict[str, list[float]], size: int) -> float:
    """GFLOP/s of the better of the two products, median over the rounds."""
    known = medians({k: v for k, v in seconds.items() if k.startswith("matmul")})
    return flops.matmul_flops(size) / min(known.values()) / 1e9


def _prepare_ours(
    shop: Shop, parameters: TrainingParameters, epochs: int = 1
) -> Callable[[], object]:
    one = epoch(prepare(shop, parameters)[0])

    def several() -> None:
        for _ in range(epochs):
            one()

    return several


def _prepare_theirs(shop: Shop, parameters: TrainingParameters) -> Callable[[], object]:
    return peer.training(shop, parameters)


if __name__ == "__main__":
    main()
