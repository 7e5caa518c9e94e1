"""One target denoised digit by digit, with all that the network thought of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from sidiff.diffusion.denoiser import DenoisingModel


@dataclass(frozen=True)
class Step:
    """One denoiser call and the digit that it filled.

    Attributes:
        filled: codes of the digits that were filled before, -1 where masked, ``(L,)``.
        probabilities: of every code, ``(L, K)``; rows of filled digits are 0.
        digit: the digit that this step fills.
        code: the code that it gets.
    """

    filled: NDArray[np.int64]
    probabilities: NDArray[np.float32]
    digit: int
    code: int

    @property
    def probability(self) -> float:
        """Probability of the code that was filled in."""
        return float(self.probabilities[self.digit, self.code])


@torch.inference_mode()
def denoise(denoiser: DenoisingModel, memory: Any) -> list[Step]:
    """Fill the surest digit, ask again, and so on: CPD with a single state.

    The single state makes it readable. It knows no constraint, so the semantic ID at
    its end need not belong to an item.

    Args:
        denoiser: the trained network.
        memory: one history as the denoiser reads it, batch size 1.

    Returns:
        One step per digit, in the order of filling.
    """
    digits, size = denoiser.config.digits, denoiser.config.codebook_size
    codes = torch.zeros((1, 1, digits), dtype=torch.int64)
    masked = torch.ones((1, 1, digits), dtype=torch.bool)
    steps: list[Step] = []
    for _ in range(digits):
        logits = denoiser.logits(codes, masked, memory)[0, 0]
        probabilities = torch.softmax(logits.float(), 1) * masked[0, 0, :, None]
        digit, code = divmod(int(probabilities.argmax()), size)
        filled = torch.where(masked, -1, codes)[0, 0]
        steps.append(Step(filled.numpy(), probabilities.numpy(), digit, code))
        codes[0, 0, digit], masked[0, 0, digit] = code, False
    return steps
