"""Noising: which digits of the target are masked in each training view.

A view's mask is the answer to two questions, each a small named strategy:

- how many digits are masked (``AMOUNTS``): nested views (DiffGRM), a draw that tilts
  towards many in the course of training (MDGR's curriculum), an even draw, or every
  digit by chance;
- which ones come first (``ORDERS``): what the model is least sure of (DiffGRM's OCN),
  what the history explains least (MDGR), or a random order.

Any amount goes with any order. With ``coherent`` all views of a sample mask along one
order, without it each view draws its own.
"""

from __future__ import annotations

from torch import Tensor

from sidiff.diffusion.noising.amounts import AMOUNTS
from sidiff.diffusion.noising.context import NoisingContext
from sidiff.diffusion.noising.orders import ORDERS
from sidiff.diffusion.settings import NoisingParameters


def masked_digits(context: NoisingContext, parameters: NoisingParameters) -> Tensor:
    """Masked digits of every view, ``(B, V, L)`` bool, at least one per view."""
    count = AMOUNTS[parameters.amount](context, parameters)
    orders = 1 if parameters.coherent else parameters.views
    order = ORDERS[parameters.order](context, parameters, orders)
    return order.argsort(2) < count[..., None]


__all__ = ["AMOUNTS", "ORDERS", "NoisingContext", "masked_digits"]
