"""Indices of many slices of one array."""

from __future__ import annotations

import torch
from torch import Tensor


def slices(starts: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
    """Places of the elements of many slices, slice after slice.

    Args:
        starts: first places of the slices ``(n,)``.
        counts: their lengths ``(n,)``.

    Returns:
        Slice and place of every element, ``(sum(counts),)`` each.
    """
    owner = torch.repeat_interleave(counts)
    place = torch.arange(len(owner), device=counts.device)
    return owner, place + (starts - counts.cumsum(0) + counts)[owner]
