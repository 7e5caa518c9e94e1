"""The inputs of noising strategies."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

Probe = Callable[[Tensor], Tensor]
"""From masked digits ``(B, L)`` to the confidence in each digit ``(B, L)``."""


@dataclass(frozen=True)
class NoisingContext:
    """A batch of targets, and how far training has come.

    Attributes:
        targets: true codes ``(B, L)``. Training alone masks digits, so a strategy that
            reads them leaks nothing.
        history: codes of the history items, right-padded, ``(B, T, L)``.
        lengths: real items per history ``(B,)``.
        progress: share of the training steps done, 0 to 1.
        probe: the model's confidences under a mask; costs one decoder pass.
        generator: source of randomness, on the device of ``targets``.
    """

    targets: Tensor
    history: Tensor
    lengths: Tensor
    progress: float
    probe: Probe
    generator: torch.Generator

    def uniform(self, views: int) -> Tensor:
        """Numbers in [0, 1), one per digit of every view, ``(B, views, L)``."""
        batch, digits = self.targets.shape
        return torch.rand(
            (batch, views, digits),
            generator=self.generator,
            device=self.targets.device,
        )
