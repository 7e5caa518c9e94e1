"""Data-parallel training in several processes.

Each process works on its share of every batch. Gradients, losses and counts are summed
over the processes, so all have the same network after each step: that of a single
process except for the rounding of the sums. A single process exchanges nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

T = TypeVar("T")


@dataclass(frozen=True)
class Workers:
    """The rank of this process among the workers of a training.

    Attributes:
        rank: of this process, from 0; rank 0 writes and reports.
        size: number of processes.
    """

    rank: int = 0
    size: int = 1

    @property
    def first(self) -> bool:
        """Test that this process writes and reports."""
        return self.rank == 0

    def share(self, parts: Sequence[T]) -> list[tuple[int, T]]:
        """The share of this process: every ``size``-th part, with its number."""
        return list(enumerate(parts))[self.rank :: self.size]

    def add_up(self, tensors: Sequence[Tensor]) -> None:
        """Sum each tensor over all processes, in place; all must be of one type."""
        if self.size == 1:
            return
        # One message for all tensors, because the fixed cost of a message dominates.
        flat = torch.cat([tensor.flatten() for tensor in tensors])
        dist.all_reduce(flat)
        sizes = [tensor.numel() for tensor in tensors]
        for tensor, summed in zip(tensors, flat.split(sizes), strict=True):
            tensor.copy_(summed.view_as(tensor))

    def add_up_gradients(self, weights: Sequence[Tensor]) -> None:
        """Sum the gradients of ``weights`` over all processes.

        A weight without a gradient in all processes keeps none, so that the optimiser
        skips it as with one process.
        """
        if self.size == 1:
            return
        has_gradient = torch.tensor(
            [weight.grad is not None for weight in weights],
            dtype=weights[0].dtype,
            device=weights[0].device,
        )
        gradients = [
            torch.zeros_like(weight) if weight.grad is None else weight.grad
            for weight in weights
        ]
        self.add_up([*gradients, has_gradient])
        for weight, gradient, count in zip(
            weights, gradients, has_gradient.tolist(), strict=True
        ):
            weight.grad = gradient if count else None

    def from_first(self, content: bytes, device: torch.device) -> bytes:
        """Broadcast the bytes of rank 0; those of other ranks are ignored."""
        if self.size == 1:
            return content
        size = torch.tensor([len(content)], device=device)
        dist.broadcast(size, 0)
        if self.first:
            sent = torch.from_numpy(np.frombuffer(content, dtype=np.uint8).copy())
        else:
            sent = torch.empty(int(size), dtype=torch.uint8)
        sent = sent.to(device)
        dist.broadcast(sent, 0)
        return sent.cpu().numpy().tobytes()


ALONE = Workers()
"""A single process."""
