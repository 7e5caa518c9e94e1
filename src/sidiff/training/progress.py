"""Progress of a training: early stopping, checkpoints, resumption."""

from __future__ import annotations

import hashlib
import logging
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import sidiff
from sidiff.fingerprints import of_values
from sidiff.snapshots import Snapshot, SnapshotFolder, below
from sidiff.training.settings import StoppingParameters

logger = logging.getLogger(__name__)

DECIDING_CODE = (
    *("baselines", "decoding", "diffusion", "ranking", "training"),
    *("evaluation/metrics.py", "devices.py", "onednn.py"),
    *("reviews/sequences.py", "sids/table.py"),
)
"""Code that decides a training; after a change older checkpoints are not used."""
_OF_PROGRESS = ("rows", "notes", "batch", "step", "finished")
_OF_STOPPING = ("best_score", "best_epoch", "stale")
"""Attributes of Progress and of EarlyStopping stored in a snapshot."""


class EarlyStopping:
    """The best validation score, and the end of a training that does not improve.

    Attributes:
        best_score: -inf before the first validation.
        best_epoch: its epoch; 0 before the first validation.
        stale: validations since then.
    """

    def __init__(self, parameters: StoppingParameters) -> None:
        self.parameters = parameters
        self.best_score = -math.inf
        self.best_epoch = 0
        self.stale = 0

    def due(self, epoch: int, last_epoch: int) -> bool:
        """Test that validation follows ``epoch``, as it does the last epoch."""
        since = epoch - self.parameters.first_epoch
        regular = since >= 0 and since % self.parameters.every_epochs == 0
        return regular or epoch == last_epoch

    def update(self, epoch: int, score: float) -> bool:
        """Record a score; True if it is the best so far."""
        if score > self.best_score:
            self.best_score, self.best_epoch, self.stale = score, epoch, 0
            return True
        self.stale += 1
        return False

    @property
    def exhausted(self) -> bool:
        """Test that ``patience`` validations in a row brought no improvement."""
        return self.stale >= self.parameters.patience


class Progress:
    """The complete state of a training.

    Attributes:
        model: the network.
        optimizer: its optimiser.
        stopping: its validation scores.
        order: generator of the order of the samples, used once an epoch.
        best: weights of the best validated epoch, on the CPU.
        rows: figures of the finished epochs.
        batch: finished batches of the current epoch.
        step: finished optimiser steps.
        sums: loss and its weight, summed over the current epoch, ``(2,)``.
        counts: other counts of the current epoch by name; restored in place.
        notes: additional rows of the finished epochs.
        finished: True when the training has ended.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        stopping: EarlyStopping,
        order: torch.Generator,
        device: torch.device,
        counts: dict[str, Tensor],
    ) -> None:
        self.model, self.optimizer = model, optimizer
        self.stopping, self.order = stopping, order
        self.best = cpu_weights(model)
        self.rows: list[dict[str, Any]] = []
        self.notes: list[dict[str, Any]] = []
        self.counts = counts
        self.batch = self.step = 0
        self.sums = torch.zeros(2, device=device)
        self.finished = False
        self._device = device
        self._order_before = order.get_state()

    @property
    def epochs(self) -> int:
        """Number of finished epochs."""
        return len(self.rows)

    def batches(self, samples: Tensor, batch_size: int) -> Iterator[Tensor]:
        """The remaining batches ``(B, ...)`` of the current epoch."""
        self._order_before = self.order.get_state()
        order = torch.randperm(len(samples), generator=self.order)
        for rows in order.split(batch_size)[self.batch :]:
            yield samples[rows]

    def advance(self, loss: Tensor, weight: Tensor) -> None:
        """Count a step and its loss."""
        self.sums += torch.stack([loss, weight]).to(self._device)
        self.batch += 1
        self.step += 1

    def end_epoch(
        self, row: dict[str, Any], notes: Sequence[dict[str, Any]] = ()
    ) -> None:
        """Store figures and notes of this epoch, and begin the next one."""
        self.rows.append(row)
        self.notes += notes
        self.batch = 0
        self.sums.zero_()
        self._order_before = self.order.get_state()

    def snapshot(self) -> Snapshot:
        """The state, from which ``restore`` continues bit for bit."""
        tensors = {f"weights/{k}": v for k, v in self.model.state_dict().items()}
        tensors |= {f"best/{k}": v for k, v in self.best.items()}
        for index, values in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer/{index}/{k}": v for k, v in values.items()}
        tensors |= {f"counts/{k}": v for k, v in self.counts.items()}
        tensors["order"] = self._order_before
        tensors["sums"] = self.sums
        state = {name: getattr(self, name) for name in _OF_PROGRESS}
        state |= {name: getattr(self.stopping, name) for name in _OF_STOPPING}
        arrays = {
            name: tensor.detach().cpu().contiguous().numpy()
            for name, tensor in tensors.items()
        }
        return Snapshot(arrays, state)

    def restore(self, snapshot: Snapshot) -> None:
        """Undo ``snapshot``, in an object with the same settings."""
        state = snapshot.metadata
        tensors = {name: torch.tensor(array) for name, array in snapshot.arrays.items()}
        self.model.load_state_dict(below("weights", tensors))
        self.best = below("best", tensors)
        moments: dict[int, dict[str, Tensor]] = {}
        for name, tensor in below("optimizer", tensors).items():
            index, key = name.split("/")
            moments.setdefault(int(index), {})[key] = tensor
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": moments, "param_groups": groups})
        # The current epoch draws its order again.
        self.order.set_state(tensors["order"])
        self._order_before = tensors["order"]
        self.sums = tensors["sums"].to(self._device)
        for name, count in self.counts.items():
            count.copy_(tensors[f"counts/{name}"])
        for name in _OF_PROGRESS:
            setattr(self, name, state[name])
        for name in _OF_STOPPING:
            setattr(self.stopping, name, state[name])


class Checkpoints:
    """Storage of one run's checkpoints.

    The file's name has the fingerprint of everything that decides the run, so a run
    never continues from the checkpoint of another one.
    """

    def __init__(
        self,
        folder: SnapshotFolder | None,
        label: str,
        decides: Mapping[str, Any],
        every_seconds: float,
    ) -> None:
        """Name the checkpoint of a run.

        Args:
            folder: of the snapshots; None for no checkpoints.
            label: beginning of the file's name and of log lines.
            decides: JSON-able values that decide the outcome of the run; software and
                arithmetic of this machine are added.
            every_seconds: least time between two checkpoints inside an epoch.
        """
        self._folder = folder
        self._label = label
        machine = {
            "sidiff": _code(),
            "torch": torch.__version__,
            "threads": torch.get_num_threads(),
            "arithmetic": torch.backends.cpu.get_cpu_capability(),
            "cuda": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        }
        fingerprint = of_values({"machine": machine, "run": decides})
        self._prefix = f"{label.lower().replace(' ', '_')}_"
        self._name = f"{self._prefix}{fingerprint[:16]}"
        self._every_seconds = every_seconds
        self._written = time.monotonic()

    def resume(self, progress: Progress) -> None:
        """Restore ``progress`` from the last checkpoint of this run, if any."""
        if self._folder is None:
            return
        snapshot = self._folder.read(self._name)
        if snapshot is None:
            self._log_others(self._folder)
            return
        progress.restore(snapshot)
        logger.info(
            "%s training goes on from its checkpoint: %s",
            self._label,
            "it was finished"
            if progress.finished
            else f"{progress.epochs} epochs and {progress.batch} batches are done",
        )

    def write(self, progress: Progress, *, if_due: bool = False) -> None:
        """Store ``progress``; with ``if_due`` only after ``every_seconds``.

        Raises:
            SidiffError: the disk is full or refuses; the last checkpoint is untouched.
        """
        seconds = time.monotonic() - self._written
        if self._folder is None or (if_due and seconds < self._every_seconds):
            return
        self._folder.write(self._name, progress.snapshot())
        self._written = time.monotonic()

    def _log_others(self, folder: SnapshotFolder) -> None:
        """Log the checkpoints of other runs, but not those of this command."""
        names = set(folder.names()) - set(folder.used)
        others = sum(name.startswith(self._prefix) for name in names)
        if others:
            logger.info(
                "%s training starts anew: %d checkpoint(s) in %s are of other "
                "settings, data or software and stay there; delete those that you do "
                "not want to continue",
                self._label,
                others,
                folder.address,
            )


def cpu_weights(model: nn.Module) -> dict[str, Tensor]:
    """A copy of a model's weights on the CPU."""
    state = model.state_dict()
    return {name: tensor.detach().cpu().clone() for name, tensor in state.items()}


@cache
def _code() -> str:
    """SHA-256 (hex) of the code that trains and validates."""
    digest = hashlib.sha256()
    root = Path(sidiff.__file__).parent
    for name in DECIDING_CODE:
        for file in sorted((root / name).rglob("*.py")) or [root / name]:
            digest.update(file.read_bytes())
    return digest.hexdigest()
