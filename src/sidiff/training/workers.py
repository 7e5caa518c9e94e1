"""The processes that train one network together.

Each works on its share of every batch; gradients, losses and counts are added up, so
that all hold the same network after each step, and it is the one that a single process
would hold but for the rounding of the sums (data-parallel training). One process alone
is the case without any exchange.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

T = TypeVar("T")


@dataclass(frozen=True)
class Workers:
    """The place of this process among those of a training.

    Attributes:
        rank: of this process, from 0; rank 0 writes and reports.
        size: how many there are.
    """

    rank: int = 0
    size: int = 1

    @property
    def first(self) -> bool:
        """Test that this process writes and reports for all."""
        return self.rank == 0

    def share(self, parts: Sequence[T]) -> list[tuple[int, T]]:
        """Every ``size``-th part with its number: what this process works on."""
        return list(enumerate(parts))[self.rank :: self.size]

    def add_up(self, tensors: Sequence[Tensor]) -> None:
        """Sum each tensor over all processes, in place; all must be of one type."""
        if self.size == 1:
            return
        # One message for all of them: the fixed cost of an exchange is the larger one.
        flat = torch.cat([tensor.flatten() for tensor in tensors])
        dist.all_reduce(flat)
        sizes = [tensor.numel() for tensor in tensors]
        for tensor, summed in zip(tensors, flat.split(sizes), strict=True):
            tensor.copy_(summed.view_as(tensor))

    def add_up_gradients(self, weights: Sequence[Tensor]) -> None:
        """Sum the gradients of ``weights`` over all processes.

        A weight that no process has a gradient of keeps none, so that the optimiser
        passes it by as it would with one process.
        """
        if self.size == 1:
            return
        found = torch.tensor(
            [weight.grad is not None for weight in weights],
            dtype=weights[0].dtype,
            device=weights[0].device,
        )
        gradients = [
            torch.zeros_like(weight) if weight.grad is None else weight.grad
            for weight in weights
        ]
        self.add_up([*gradients, found])
        for weight, gradient, count in zip(
            weights, gradients, found.tolist(), strict=True
        ):
            weight.grad = gradient if count else None

    def from_first(self, content: T, device: torch.device) -> T:
        """The content that rank 0 gives; that of the others is not looked at."""
        contents = [content]
        if self.size > 1:
            dist.broadcast_object_list(contents, 0, device=device)
        return contents[0]


ALONE = Workers()
"""No other process."""
