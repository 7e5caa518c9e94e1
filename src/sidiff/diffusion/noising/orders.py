"""Masking orders.

OCN, on-policy coherent noising, is DiffGRM's (arXiv 2510.21805, section 4.2), the order
by the history MDGR's (arXiv 2601.19501, Eqs. 11-12).
"""

from __future__ import annotations

import torch
from torch import Tensor

from sidiff.diffusion.noising.context import NoisingContext
from sidiff.diffusion.settings import NoisingParameters

EPS = 1.0
"""MDGR's eps (Eq. 11). With 1, a digit that no history item explains is twice as likely
to be masked first as a digit that one item explains. With a larger eps the digits are
more alike."""


def by_confidence(context: NoisingContext, parameters: NoisingParameters) -> Tensor:
    """OCN: the least confident digits first, the same order in all views."""
    del parameters
    confidence = context.probe(torch.ones_like(context.targets, dtype=torch.bool))
    return confidence.argsort(dim=1, stable=True)[:, None]


def at_random(context: NoisingContext, parameters: NoisingParameters) -> Tensor:
    """Random orders, all equally likely."""
    return context.uniform(parameters.views).argsort(2)


def by_history(context: NoisingContext, parameters: NoisingParameters) -> Tensor:
    """Random orders in which digits that the history explains less tend to be first.

    Digits are drawn without replacement with weights w = 1 / (f + ``EPS``), f being
    ``history_counts``. Ranks by log w plus Gumbel noise have this distribution.
    """
    weight = 1.0 / (history_counts(context) + EPS)
    noise = context.uniform(parameters.views).clamp(min=torch.finfo(torch.float32).tiny)
    gumbel = -(-noise.log()).log()
    return (weight.log()[:, None] + gumbel).argsort(2, descending=True)


def history_counts(context: NoisingContext) -> Tensor:
    """Number of history items with the target's code, per digit, ``(B, L)`` int64."""
    slots = torch.arange(context.history.shape[1], device=context.lengths.device)
    real = slots < context.lengths[:, None]
    same = context.history == context.targets[:, None]
    return (same & real[..., None]).sum(1)
