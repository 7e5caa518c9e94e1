"""Inputs of the noising strategies."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from sidiff.diffusion.networks import Network

Probe = Callable[[Tensor], Tensor]
"""From masked digits ``(B, L)`` to the confidence in each digit ``(B, L)``."""


@dataclass(frozen=True)
class NoisingContext:
    """A batch of targets and the progress of training.

    Attributes:
        targets: true codes ``(B, L)``. Strategies may read them, because only training
            masks digits.
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
            (batch, views, digits), generator=self.generator, device=self.targets.device
        )


def confidence_probe(network: Network, memory: Any, targets: Tensor) -> Probe:
    """The model's confidence in each digit, without gradient and without dropout.

    Args:
        network: the network in training.
        memory: the batch's histories, encoded as in the training pass.
        targets: true codes ``(B, L)``, read at visible digits only.

    Returns:
        A function from masks to the log of each digit's largest probability.
    """

    @torch.no_grad()
    def probe(masked: Tensor) -> Tensor:
        was_training = network.training
        network.eval()
        logits = network.logits(targets[:, None], masked[:, None], memory)[:, 0]
        network.train(was_training)
        return logits.log_softmax(-1).amax(-1)

    return probe
