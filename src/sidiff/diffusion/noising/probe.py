"""The model's confidence in each digit, asked without touching its training."""

from __future__ import annotations

import torch
from torch import Tensor

from sidiff.diffusion.denoiser import Denoiser, Memory
from sidiff.diffusion.noising.context import Probe
from sidiff.parameters import NoisingParameters


def confidence_probe(
    denoiser: Denoiser, memory: Memory, targets: Tensor, parameters: NoisingParameters
) -> Probe:
    """The model's confidence in each digit, without gradient and without dropout.

    Args:
        denoiser: the network in training.
        memory: the batch's histories, encoded as in the training pass.
        targets: true codes ``(B, L)``, read at visible digits only.
        parameters: ``probe_kv: raw`` repeats the release's unprojected keys and values.

    Returns:
        The function from masked digits to the log of each one's largest probability.
    """
    if parameters.probe_kv == "raw":
        memory = denoiser.unprojected(memory)

    @torch.no_grad()
    def probe(masked: Tensor) -> Tensor:
        was_training = denoiser.training
        denoiser.eval()
        logits = denoiser.logits(targets[:, None], masked[:, None], memory)[:, 0]
        denoiser.train(was_training)
        return logits.log_softmax(-1).amax(-1)

    return probe
