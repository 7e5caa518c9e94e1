"""Masked digits, counted over each epoch."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from sidiff.diffusion.noising.context import NoisingContext
from sidiff.diffusion.noising.orders import history_counts
from sidiff.training.workers import Workers


class MaskingLog:
    """Counts of masked digits since the last ``rows``.

    Attributes:
        total: views with 0, 1, ... L digits masked; views in which each digit is
            masked; digits that the history has not, and has, the code of, each as how
            many there were and how many were masked. ``(L + 1 + L + 4,)``.
    """

    def __init__(self, digits: int, device: torch.device) -> None:
        """Nothing counted yet."""
        self._digits = digits
        self.total = torch.zeros(2 * digits + 5, dtype=torch.int64, device=device)
        self._step = torch.zeros_like(self.total)

    def add(self, context: NoisingContext, masked: Tensor) -> None:
        """Count the views ``masked`` ``(B, V, L)`` bool of a part of a batch."""
        sizes, digits, explained = self._split(self._step)
        sizes += masked.sum(2).flatten().bincount(minlength=len(sizes))
        digits += masked.sum((0, 1))
        known = (history_counts(context) > 0).long()
        times = masked.sum(1)
        explained[:, 0] += masked.shape[1] * known.flatten().bincount(minlength=2)
        explained[:, 1].scatter_add_(0, known.flatten(), times.flatten())

    def end_step(self, workers: Workers) -> None:
        """Take what all workers counted since the last step into the total."""
        workers.add_up([self._step])
        self.total += self._step
        self._step.zero_()

    def rows(self, epoch: int) -> list[dict[str, Any]]:
        """Shares of ``epoch``, and start anew: epoch, of, value, share.

        ``of`` says what is counted: ``views`` with ``value`` masked digits, among all
        views; ``digit`` number ``value`` masked; masked digits among those that the
        history has the code of (``in_history`` 1) or not (0).
        """
        sizes, digits, explained = self._split(self.total)
        views = sizes.sum().clamp(min=1)
        shares = {
            "views": sizes / views,
            "digit": digits / views,
            "in_history": explained[:, 1] / explained[:, 0].clamp(min=1),
        }
        self.total.zero_()
        return [
            {"epoch": epoch, "of": of, "value": value, "share": share}
            for of, tensor in shares.items()
            for value, share in enumerate(tensor.tolist())
        ]

    def _split(self, counts: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Views: sizes ``(L + 1,)``, digits ``(L,)``, explained ``(2, 2)``."""
        sizes, digits, explained = counts.split([self._digits + 1, self._digits, 4])
        return sizes, digits, explained.view(2, 2)
