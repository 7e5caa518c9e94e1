"""Decoders by name, and their result."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sidiff.registry import Registry

if TYPE_CHECKING:
    from torch import Tensor

    from sidiff.decoding.search import Search


@dataclass(frozen=True)
class Decoded:
    """Complete SIDs of every user, best first.

    Attributes:
        codes: ``(B, A, L)`` int64, A at most the beam width.
        scores: summed log-probabilities ``(B, A)``; -inf marks an unused slot.
        denoiser_calls: denoiser calls per user.
        distinct_states: share of distinct states among the states of all steps.
    """

    codes: Tensor
    scores: Tensor
    denoiser_calls: int
    distinct_states: float


DECODERS: Registry[Callable[[Search], Decoded]] = Registry(
    cpd="sidiff.decoding.cpd:decode",
    two_stage="sidiff.decoding.two_stage:decode",
    one_pass="sidiff.decoding.one_pass:decode",  # noqa: S106 (no password)
)
