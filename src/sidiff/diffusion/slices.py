"""Positions of many slices of one array."""

from __future__ import annotations

import torch
from torch import Tensor


def slices(starts: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
    """Positions of many slices of one array, slice after slice.

    Args:
        starts: where each slice begins ``(n,)``.
        counts: its length ``(n,)``.

    Returns:
        The slice that each position belongs to, and the position, ``(sum(counts),)``.
    """
    owner = torch.repeat_interleave(counts)
    place = torch.arange(len(owner), device=counts.device)
    return owner, place + (starts - counts.cumsum(0) + counts)[owner]
