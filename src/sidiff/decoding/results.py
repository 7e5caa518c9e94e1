"""The result of every decoder."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Decoded:
    """Complete SIDs of every user, best first.

    Attributes:
        codes: ``(B, A, L)`` int64, A at most the beam width.
        scores: summed log-probabilities ``(B, A)``; -inf marks an unused slot.
        denoiser_calls: decoder passes made, mean over the users.
        distinct_states: share of distinct states among those given to the denoiser.
    """

    codes: Tensor
    scores: Tensor
    denoiser_calls: float
    distinct_states: float
