"""Steps of the denoising of one semantic ID, for pages and figures."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from sidiff.decoding.trace import steps
from sidiff.diffusion.denoiser import DenoisingModel


class WalkStep(NamedTuple):
    """One denoiser call and the digit that it fills.

    Attributes:
        filled: codes before the call, -1 where masked ``(L,)``.
        probabilities: of all codes, 0 at filled digits ``(L, K)``.
        digit: the digit that is filled.
        code: the code of the digit.
    """

    filled: NDArray[np.int64]
    probabilities: NDArray[np.float32]
    digit: int
    code: int

    @property
    def probability(self) -> float:
        """The probability of ``code``."""
        return float(self.probabilities[self.digit, self.code])


@torch.inference_mode()
def walk(network: DenoisingModel, memory: Any) -> list[WalkStep]:
    """The greedy denoising path for the only user of ``memory``."""
    masked = torch.zeros((1, 1, network.config.digits), dtype=torch.int64)
    return [
        WalkStep(
            step.filled[0, 0].numpy(),
            step.log_p[0, 0].exp().numpy(),
            int(step.digit),
            int(step.code),
        )
        for step in steps(network, memory, masked, given=False)
    ]
