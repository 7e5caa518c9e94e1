"""Noising: the masks of the target in the training views.

The mask of a view follows from two strategies:

- the number of masked digits (``AMOUNTS``): nested views (DiffGRM), a draw that shifts
  to more digits in the course of training (MDGR's curriculum), a uniform draw, or each
  digit with probability 1/2;
- the order of masking (``ORDERS``): least confident first (DiffGRM's OCN), least
  explained by the history first (MDGR), or random.

They can be combined freely. The order by confidence is the same in all views of a
sample (coherent noising); other orders are drawn for each view.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from sidiff.registry import Registry

if TYPE_CHECKING:
    from torch import Tensor

    from sidiff.diffusion.noising.context import NoisingContext
    from sidiff.diffusion.settings import NoisingParameters

    Strategy = Callable[[NoisingContext, NoisingParameters], Tensor]

AMOUNTS: Registry[Strategy] = Registry(
    nested="sidiff.diffusion.noising.amounts:nested",
    curriculum="sidiff.diffusion.noising.amounts:curriculum",
    uniform="sidiff.diffusion.noising.amounts:uniform",
    chance="sidiff.diffusion.noising.amounts:chance",
)
"""Numbers of masked digits of every view, ``(B, V)``, at least 1."""

ORDERS: Registry[Strategy] = Registry(
    confidence="sidiff.diffusion.noising.orders:by_confidence",
    history="sidiff.diffusion.noising.orders:by_history",
    random="sidiff.diffusion.noising.orders:at_random",
)
"""Digits in the order of masking, ``(B, V, L)``, or ``(B, 1, L)`` for all views."""


def masked_digits(context: NoisingContext, parameters: NoisingParameters) -> Tensor:
    """Masked digits of every view, ``(B, V, L)`` bool, at least one per view."""
    count = AMOUNTS[parameters.amount](context, parameters)
    order = ORDERS[parameters.order](context, parameters)
    return order.argsort(2) < count[..., None]
