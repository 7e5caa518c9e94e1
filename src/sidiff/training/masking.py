"""What the noising hid, counted over each epoch."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from sidiff.diffusion.noising import NoisingContext
from sidiff.diffusion.noising.orders import history_support


class MaskingLog:
    """Counts of hidden digits since the last ``rows``.

    Attributes:
        sizes: views with 0, 1, ... L digits hidden, ``(L + 1,)``.
        digits: views in which each digit is hidden, ``(L,)``.
        explained: digits that the history has not, and has, the code of; how many of
            each there were, and how many were hidden, ``(2, 2)``.
    """

    def __init__(self, digits: int, device: torch.device) -> None:
        """Nothing counted yet."""
        self.sizes = torch.zeros(digits + 1, dtype=torch.int64, device=device)
        self.digits = torch.zeros(digits, dtype=torch.int64, device=device)
        self.explained = torch.zeros(2, 2, dtype=torch.int64, device=device)

    @property
    def counts(self) -> dict[str, Tensor]:
        """All that is counted, by name."""
        return {
            "sizes": self.sizes,
            "digits": self.digits,
            "explained": self.explained,
        }

    def add(self, context: NoisingContext, hidden: Tensor) -> None:
        """Count the views ``hidden`` ``(B, V, L)`` bool of one batch."""
        self.sizes += hidden.sum(2).flatten().bincount(minlength=len(self.sizes))
        self.digits += hidden.sum((0, 1))
        known = (history_support(context, recency=1.0) > 0).long()
        times = hidden.sum(1)
        self.explained[:, 0] += hidden.shape[1] * known.flatten().bincount(minlength=2)
        self.explained[:, 1].scatter_add_(0, known.flatten(), times.flatten())

    def rows(self, epoch: int) -> list[dict[str, Any]]:
        """Shares of ``epoch``, and start anew: epoch, of, value, share.

        ``of`` says what is counted: ``views`` with ``value`` hidden digits, among all
        views; ``digit`` number ``value`` hidden; hidden digits among those that the
        history has the code of (``in_history`` 1) or not (0).
        """
        views = self.sizes.sum().clamp(min=1)
        shares = {
            "views": self.sizes / views,
            "digit": self.digits / views,
            "in_history": self.explained[:, 1] / self.explained[:, 0].clamp(min=1),
        }
        for counts in self.counts.values():
            counts.zero_()
        return [
            {"epoch": epoch, "of": of, "value": value, "share": share}
            for of, tensor in shares.items()
            for value, share in enumerate(tensor.tolist())
        ]
