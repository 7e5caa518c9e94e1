"""How many digits each view masks.

Nested views are DiffGRM's (section 4.2). The curriculum belongs to MDGR
(arXiv 2601.19501), of which this project knows the abstract only: that the amount of
masking follows a global curriculum is the paper's, the formula is ours.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from sidiff.diffusion.noising.context import NoisingContext
from sidiff.errors import SidiffError
from sidiff.parameters import CurriculumParameters, NoisingParameters

Amount = Callable[[NoisingContext, NoisingParameters], Tensor]
"""Returns the number of masked digits of every view, ``(B, V)``, at least 1."""

GROWTH: dict[str, Callable[[float], float]] = {
    "linear": lambda x: x,
    "cosine": lambda x: 0.5 * (1.0 - math.cos(math.pi * x)),
    "sqrt": math.sqrt,
    "constant": lambda x: 1.0,
}
"""From 0 to 1 to the share of the digits that may be masked."""


def nested(context: NoisingContext, parameters: NoisingParameters) -> Tensor:
    """Evenly more digits from view to view, up to all of them."""
    batch, digits = context.targets.shape
    sizes = view_sizes(digits, parameters.views)
    return torch.tensor(sizes, device=context.targets.device).expand(batch, -1)


def curriculum(context: NoisingContext, parameters: NoisingParameters) -> Tensor:
    """A number drawn from 1 to the cap of this moment, anew for every view.

    ``reversed`` mirrors it: from what was the cap's complement up to all digits. Both
    end with 1 to L; one begins with the easy views, the other with the hard ones.
    """
    batch, digits = context.targets.shape
    cap = digit_cap(context.progress, digits, parameters.curriculum)
    drawn = torch.randint(
        1,
        cap + 1,
        (batch, parameters.views),
        generator=context.generator,
        device=context.targets.device,
    )
    return digits + 1 - drawn if parameters.curriculum.reversed else drawn


def chance(context: NoisingContext, parameters: NoisingParameters) -> Tensor:
    """As many as come out masked when each is with ``mask_probability``; at least 1."""
    drawn = context.uniform(parameters.views) < parameters.mask_probability
    return drawn.sum(2).clamp(min=1)


AMOUNTS: dict[str, Amount] = {
    "nested": nested,
    "curriculum": curriculum,
    "chance": chance,
}


def view_sizes(digits: int, views: int) -> list[int]:
    """Hidden digits in each nested view, growing evenly to all of them.

    Raises:
        SidiffError: more views than digits.
    """
    if views > digits:
        raise SidiffError(
            f"training.noising.views is {views} but an item has {digits} digits; "
            f"nested views need at most {digits}."
        )
    return [-(-digits * view // views) for view in range(1, views + 1)]


def digit_cap(progress: float, digits: int, parameters: CurriculumParameters) -> int:
    """Most digits masked at ``progress`` (0 to 1) of training: 1 to ``digits``."""
    reached = min(1.0, progress / parameters.saturation)
    share = GROWTH[parameters.shape](reached)
    # Rounded first: 8 * 0.5 by way of a cosine must not become 5.
    return max(1, math.ceil(round(digits * share, 9)))
