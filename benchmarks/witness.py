"""Quality of sidiff's DiffGRM and Cornac's: same SIDs, histories, settings and epochs.

    python -m benchmarks.witness --sequences FILE --sid-table FILE --users 4472

Each draws its initial weights and its noise, and decodes the test users with its search
(CPD, constrained to SIDs that exist; with equal weights both find the same lists:
``benchmarks.decoding``). Figures are at SID level. Differences are paired over users,
after the mean over seeds.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks import inputs, peer
from benchmarks.common import Row, hardware, parser, positive, publish
from benchmarks.decoding import TOP, Ours, Sids, Theirs
from benchmarks.inputs import MAX_HISTORY, Shop
from benchmarks.training import epoch, prepare
from sidiff.diffusion.denoiser import DenoiserConfig
from sidiff.evaluation.bootstrap import bootstrap_intervals
from sidiff.evaluation.metrics import metrics_from_ranks
from sidiff.evaluation.settings import BootstrapParameters
from sidiff.training.settings import TrainingParameters

RESAMPLES = BootstrapParameters(resamples=2000, confidence=0.95, seed=0)


def main(arguments: Sequence[str] | None = None) -> None:
    """Train both with every seed, decode, compare and publish."""
    options = parser("witness", __doc__)
    inputs.add_shop(options, users=4472)
    inputs.add_network(options)
    options.add_argument("--epochs", type=positive, default=6)
    options.add_argument("--batch", type=positive, default=64, help="samples per step")
    options.add_argument("--learning-rate", type=float, default=0.002)
    options.add_argument("--warmup", type=positive, default=100, help="steps")
    options.add_argument("--beam", type=positive, default=32)
    options.add_argument("--seeds", type=int, nargs="+", default=[2024, 2025])
    settings = options.parse_args(arguments)
    if not peer.available():
        options.error('Cornac is not installed: pip install -e ".[bench]"')
    torch.set_num_threads(settings.threads)
    shop = inputs.load_shop(settings, options)
    figures: dict[str, list[NDArray[np.float64]]] = {"sidiff": [], "cornac": []}
    courses: list[Row] = []
    for seed in settings.seeds:
        for name, one in (("sidiff", _ours), ("cornac", _theirs)):
            began = time.perf_counter()
            losses, lists = one(shop, _training(settings, seed), settings.beam)
            seconds = time.perf_counter() - began
            found = gains(lists, shop)
            figures[name].append(found)
            recall, ndcg = found.mean(0)
            row = {"method": name, "seed": seed, "recall_at_10": recall}
            row |= {"ndcg_at_10": ndcg, "minutes": seconds / 60}
            courses.append(row | {f"loss_{n}": x for n, x in enumerate(losses, 1)})
    means = {name: np.mean(found, axis=0) for name, found in figures.items()}
    columns = np.stack(
        [means["sidiff"], means["cornac"], means["sidiff"] - means["cornac"]], axis=2
    )
    intervals = bootstrap_intervals(columns.reshape(len(columns), -1), RESAMPLES)
    rows = [
        {"figure": figure, "of": of, "mean": mean, "low": low, "high": high}
        for (figure, of), mean, (low, high) in zip(
            [
                (figure, of)
                for figure in ("recall_at_10", "ndcg_at_10")
                for of in ("sidiff", "cornac", "difference")
            ],
            columns.mean(0).ravel(),
            intervals.T,
            strict=True,
        )
    ]
    result = {"users": len(columns), "trainings": courses, "quality": rows}
    publish(settings, hardware(), result)


def _training(settings: Any, seed: int) -> TrainingParameters:
    """The paper's, in the shape and for the epochs that the options give."""
    return inputs.training_parameters(
        {
            "network": inputs.network_changes(settings),
            "optimizer": {
                "learning_rate": settings.learning_rate,
                "warmup_steps": settings.warmup,
            },
            "epochs": settings.epochs,
            "batch_size": settings.batch,
            "samples_per_pass": settings.batch,
            "seed": seed,
        }
    )


def _ours(shop: Shop, parameters: TrainingParameters, beam: int) -> tuple[Any, Sids]:
    trainer, task, _ = prepare(shop, parameters)
    once = epoch(trainer)
    for _ in range(parameters.epochs):
        once()
    losses = [row["train/loss"] for row in trainer.progress.rows]
    ours = Ours(shop, task.denoiser.eval(), users_per_batch=128)
    search = inputs.ranking_parameters(beam=beam, constraint="items", merge="none")
    lists: Sids = []
    for start in range(0, len(ours.samples), 128):
        lists += ours.best_sids(ours.samples[start : start + 128], search)
    return losses, lists


def _theirs(shop: Shop, parameters: TrainingParameters, beam: int) -> tuple[Any, Sids]:
    model, data = peer.recommender(shop, parameters, parameters.epochs)
    model.fit(data)
    table = shop.table
    config = DenoiserConfig.build(
        parameters.network, table.digits, table.codebook_size, MAX_HISTORY
    )
    network = peer.trained_network(model, config, shop.table.codes)
    theirs = Theirs(shop, network, batch=32)
    return model.loss_history_, theirs.search(theirs.samples, beam, True, True)


def gains(lists: Sids, shop: Shop) -> NDArray[np.float64]:
    """Recall@10 and NDCG@10 of every test user at SID level, ``(U, 2)``."""
    sequences = shop.sequences
    targets = shop.table.codes[sequences.items[sequences.offsets[1:] - 1]]
    wanted = map(tuple, targets.tolist())
    ranks = [
        sids.index(sid) if sid in sids else -1
        for sids, sid in zip(lists, wanted, strict=True)
    ]
    values = metrics_from_ranks(np.array(ranks), [TOP])
    return np.stack([values[f"recall_at_{TOP}"], values[f"ndcg_at_{TOP}"]], axis=1)


if __name__ == "__main__":
    main()
