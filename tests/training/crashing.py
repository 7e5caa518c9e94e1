"""A small training in a process of its own, to be killed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl

from sidiff.reviews.sequences import Sequences, training_samples
from sidiff.sids.table import SidTable
from sidiff.snapshots import SnapshotFolder
from sidiff.training.denoising import Job
from sidiff.training.loop import Fitted, fit
from sidiff.training.settings import TrainingParameters
from tests.settings import training

ITEMS, MAX_HISTORY, USERS = 24, 10, 90


KINDS = {
    "items": {"batch_size": 6, "samples_per_pass": 3},
    "digits": {"batch_size": 32, "samples_per_pass": 16, "validation.method": "cpd"},
}
"""Kinds of network; each takes a dozen steps or more in an epoch."""


def parameters(posterior: str = "items", **changes: object) -> TrainingParameters:
    small = {
        "network.posterior": posterior,
        "network.d_model": 16,
        "network.heads": 2,
        "network.d_ff": 16,
        "network.encoder_layers": 1,
        "network.decoder_layers": 1,
        "optimizer.warmup_steps": 5,
        "validation.first_epoch": 1,
        "validation.every_epochs": 2,
        "validation.max_users": 0,
        "validation.users_per_batch": 16,
        "epochs": 3,
        "checkpoint_seconds": 0.0,
        "seed": 1,
        "device": "cpu",
        "threads": 1,
    }
    return training(small | KINDS[posterior] | changes)


def shop() -> tuple[Sequences, np.ndarray, SidTable]:
    rng = np.random.default_rng(0)
    lengths = rng.integers(5, 14, USERS)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    sequences = Sequences(
        items=rng.integers(0, ITEMS, offsets[-1]).astype(np.int32),
        offsets=offsets,
        user_ids=pl.Series([f"u{i:03}" for i in range(USERS)]),
        item_ids=pl.Series([f"i{i:02}" for i in range(ITEMS)]),
    )
    codes = rng.integers(0, 6, (ITEMS, 4)).astype(np.uint16)
    table = SidTable(codes, sequences.item_ids, 6)
    return sequences, training_samples(sequences, "prefix", 2, MAX_HISTORY), table


def train(
    checkpoints: Path | None, p: TrainingParameters, samples: np.ndarray | None = None
) -> tuple[Fitted, list[int]]:
    """Train, and return the result and the epochs that were reported."""
    sequences, all_samples, table = shop()
    epochs: list[int] = []
    job = Job(
        sequences,
        all_samples if samples is None else samples,
        table,
        p,
        MAX_HISTORY,
        checkpoints=None if checkpoints is None else SnapshotFolder(checkpoints),
    )
    return fit(job, lambda epoch, _: epochs.append(epoch)), epochs


def train_in_a_process(checkpoints: Path, posterior: str) -> None:
    train(checkpoints, parameters(posterior))
