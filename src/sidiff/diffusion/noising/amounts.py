"""Numbers of masked digits.

Nested views are DiffGRM's (arXiv 2510.21805, section 4.2), the curriculum is MDGR's
(arXiv 2601.19501, Eqs. 8-10), the uniform draw is the control of its ablation.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from sidiff.diffusion.noising.context import NoisingContext
from sidiff.diffusion.settings import NoisingParameters
from sidiff.errors import SidiffError

GAMMA = 2.0
"""MDGR's gamma (Eq. 8): with a larger value many masked digits are likely sooner."""

MASK_PROBABILITY = 0.5
"""Probability of a masked digit (amount ``chance``)."""


def nested(context: NoisingContext, parameters: NoisingParameters) -> Tensor:
    """Numbers that grow evenly from view to view, up to all digits."""
    batch, digits = context.targets.shape
    sizes = view_sizes(digits, parameters.views)
    return torch.tensor(sizes, device=context.targets.device).expand(batch, -1)


def curriculum(context: NoisingContext, parameters: NoisingParameters) -> Tensor:
    """A number drawn for every view, with chances that change during training."""
    batch, digits = context.targets.shape
    chances = curriculum_chances(context.progress, digits, GAMMA)
    drawn = torch.multinomial(
        chances.to(context.targets.device, torch.float32),
        batch * parameters.views,
        replacement=True,
        generator=context.generator,
    )
    return drawn.view(batch, -1) + 1


def uniform(context: NoisingContext, parameters: NoisingParameters) -> Tensor:
    """A number drawn uniformly from 1 to L for every view."""
    batch, digits = context.targets.shape
    return torch.randint(
        1,
        digits + 1,
        (batch, parameters.views),
        generator=context.generator,
        device=context.targets.device,
    )


def chance(context: NoisingContext, parameters: NoisingParameters) -> Tensor:
    """A binomial number, each digit with ``MASK_PROBABILITY``; at least 1."""
    drawn = context.uniform(parameters.views) < MASK_PROBABILITY
    return drawn.sum(2).clamp(min=1)


def view_sizes(digits: int, views: int) -> list[int]:
    """Masked digits in each nested view, growing evenly to all of them.

    Raises:
        SidiffError: more views than digits.
    """
    if views > digits:
        raise SidiffError(
            f"training.noising.views is {views} but an item has {digits} digits; "
            f"nested views need at most {digits}."
        )
    return [-(-digits * view // views) for view in range(1, views + 1)]


def curriculum_chances(progress: float, digits: int, gamma: float) -> Tensor:
    """Chance of 1, 2, ... L masked digits (Eqs. 8-10), ``(L,)`` float64.

    delta = cos(pi progress / 2)^gamma weighs a distribution that falls with the number
    against one that rises.

    Args:
        progress: share of the training steps done, 0 to 1.
        digits: L.
        gamma: above 0.
    """
    # The cosine of a quarter turn is not exactly 0, and may be below.
    delta = max(0.0, math.cos(0.5 * math.pi * progress)) ** gamma
    number = torch.arange(1, digits + 1, dtype=torch.float64)
    score = (1.0 - delta) * number + delta * (digits + 1 - number)
    return score / score.sum()
