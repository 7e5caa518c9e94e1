"""The progress of a training: when it ends, its checkpoints, and how it is resumed."""

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
"""Code of which a change makes older checkpoints those of another program."""
_OWN = ("rows", "notes", "batch", "step", "finished")
_OF_STOPPING = ("best_score", "best_epoch", "stale")
"""Attributes of Progress and of EarlyStopping stored in a snapshot."""


class EarlyStopping:
    """Remembers the best validation score and when to give up.

    Attributes:
        best_score: highest score so far; -inf before the first.
        best_epoch: its epoch; 0 before the first.
    """

    def __init__(self, parameters: StoppingParameters) -> None:
        self.parameters = parameters
        self.best_score = -math.inf
        self.best_epoch = 0
        self.stale = 0

    def due(self, epoch: int, last_epoch: int) -> bool:
        """Epochs after which to validate: test of ``epoch``; the last one always is."""
        since = epoch - self.parameters.first_epoch
        regular = since >= 0 and since % self.parameters.every_epochs == 0
        return regular or epoch == last_epoch

    def update(self, epoch: int, score: float) -> bool:
        """Record a score; True when it is the best so far."""
        if score > self.best_score:
            self.best_score, self.best_epoch, self.stale = score, epoch, 0
            return True
        self.stale += 1
        return False

    @property
    def exhausted(self) -> bool:
        """Test that ``patience`` validations in a row brought nothing."""
        return self.stale >= self.parameters.patience


class Progress:
    """Everything that changes while a model is trained.

    Attributes:
        model: what is trained.
        optimizer: its optimiser.
        stopping: its validation scores.
        order: draws the order of the samples, once an epoch.
        best: weights of the best validated epoch, on the CPU.
        rows: figures of the finished epochs.
        batch: batches done of the epoch that runs.
        step: optimiser steps done in all.
        sums: loss and its weight, summed over the epoch that runs, ``(2,)``.
        counts: what else is counted over it, by name; restored in place.
        notes: further rows of the finished epochs.
        finished: whether nothing is left to do.
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
        """Epochs that are done."""
        return len(self.rows)

    def batches(self, samples: Tensor, batch_size: int) -> Iterator[Tensor]:
        """The rest of the epoch that runs: parts ``(B, ...)`` of ``samples``."""
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
        """Begin the next epoch, with figures and notes on this one."""
        self.rows.append(row)
        self.notes += notes
        self.batch = 0
        self.sums.zero_()
        self._order_before = self.order.get_state()

    def snapshot(self) -> Snapshot:
        """All of it, to be restored bit for bit."""
        tensors = {f"weights/{k}": v for k, v in self.model.state_dict().items()}
        tensors |= {f"best/{k}": v for k, v in self.best.items()}
        for index, values in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer/{index}/{k}": v for k, v in values.items()}
        tensors |= {f"counts/{k}": v for k, v in self.counts.items()}
        tensors["order"] = self._order_before
        tensors["sums"] = self.sums
        state = {name: getattr(self, name) for name in _OWN}
        state |= {name: getattr(self.stopping, name) for name in _OF_STOPPING}
        arrays = {
            name: tensor.detach().cpu().contiguous().numpy()
            for name, tensor in tensors.items()
        }
        return Snapshot(arrays, state)

    def restore(self, snapshot: Snapshot) -> None:
        """Undo ``snapshot``, in an object made of the same settings."""
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
        # The epoch that runs draws its order once more.
        self.order.set_state(tensors["order"])
        self._order_before = tensors["order"]
        self.sums = tensors["sums"].to(self._device)
        for name, count in self.counts.items():
            count.copy_(tensors[f"counts/{name}"])
        for name in _OWN:
            setattr(self, name, state[name])
        for name in _OF_STOPPING:
            setattr(self.stopping, name, state[name])


class Checkpoints:
    """The place and pace of one run's checkpoints.

    The file's name and content hold the fingerprint of everything that decides the
    run, so that another run's checkpoint is never taken for its own.
    """

    def __init__(
        self,
        folder: SnapshotFolder | None,
        label: str,
        decides: Mapping[str, Any],
        every_seconds: float,
    ) -> None:
        """Say what the run is.

        Args:
            folder: of the snapshots; None for none at all.
            label: begins the file's name and the log lines.
            decides: JSON-able; all that decides the run's outcome, but for
                the arithmetic of this machine.
            every_seconds: at least so long between two checkpoints inside an epoch.
        """
        self._folder = folder
        self._label = label
        # With what decides it on this machine and with this software.
        here = {
            "sidiff": _code(),
            "torch": torch.__version__,
            "threads": torch.get_num_threads(),
            "arithmetic": torch.backends.cpu.get_cpu_capability(),
            "cuda": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        }
        self._fingerprint = of_values({"here": here, "run": decides})
        self._name = f"{label.lower().replace(' ', '_')}_{self._fingerprint[:16]}"
        self._every_seconds = every_seconds
        self._written = time.monotonic()

    def resume(self, progress: Progress) -> None:
        """Bring ``progress`` to where the last run of the same settings stopped."""
        if self._folder is None:
            return
        found = self._folder.read(self._name)
        if found is None:
            self._mention_others(self._folder)
            return
        if found.metadata["fingerprint"] != self._fingerprint:
            logger.warning(
                "The checkpoint %s is of another run in spite of its name and is not "
                "used; %s training starts anew",
                f"{self._folder.address}/{self._name}",
                self._label,
            )
            return
        progress.restore(found)
        logger.info(
            "%s training goes on from its checkpoint: %s",
            self._label,
            "it was finished"
            if progress.finished
            else f"{progress.epochs} epochs and {progress.batch} batches are done",
        )

    def write(self, progress: Progress, *, if_due: bool = False) -> None:
        """Write ``progress`` down; ``if_due``: if the last time is long enough ago.

        Raises:
            SidiffError: the disk is full or refuses; the last checkpoint is untouched.
        """
        seconds = time.monotonic() - self._written
        if self._folder is None or (if_due and seconds < self._every_seconds):
            return
        snapshot = progress.snapshot()
        snapshot.metadata["fingerprint"] = self._fingerprint
        self._folder.write(self._name, snapshot)
        self._written = time.monotonic()

    def _mention_others(self, folder: SnapshotFolder) -> None:
        beginning = self._name.removesuffix(self._fingerprint[:16])
        # Those of this very run, for another seed or setting, are not left over.
        names = set(folder.names()) - set(folder.used)
        others = sum(name.startswith(beginning) for name in names)
        if others:
            logger.info(
                "%s training starts anew: %d checkpoint(s) in %s are of other "
                "settings, data or software and stay there; delete what you do not "
                "want to go on with",
                self._label,
                others,
                folder.address,
            )


def cpu_weights(model: nn.Module) -> dict[str, Tensor]:
    """A copy of a model's current weights on the CPU."""
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
