"""The model's confidence in each digit, asked without touching its training."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from sidiff.diffusion.networks import Network
from sidiff.diffusion.noising.context import Probe


def confidence_probe(network: Network, memory: Any, targets: Tensor) -> Probe:
    """The model's confidence in each digit, without gradient and without dropout.

    Args:
        network: in training.
        memory: the batch's histories, encoded as in the training pass.
        targets: true codes ``(B, L)``, read at visible digits only.

    Returns:
        The function from masked digits to the log of each one's largest probability.
    """

    @torch.no_grad()
    def probe(masked: Tensor) -> Tensor:
        was_training = network.training
        network.eval()
        logits = network.logits(targets[:, None], masked[:, None], memory)[:, 0]
        network.train(was_training)
        return logits.log_softmax(-1).amax(-1)

    return probe
