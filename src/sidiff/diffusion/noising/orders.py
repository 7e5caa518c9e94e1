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
"""MDGR's eps (Eq. 11): a digit that no history item explains is twice as likely to be
masked first as a digit that one item explains. A tiny eps makes the former all but
certain, a large one makes all digits alike."""


def by_confidence(context: NoisingContext, parameters: NoisingParameters) -> Tensor:
    """OCN: the least confident digits first, the same order in all views."""
    del parameters
    confidence = context.probe(torch.ones_like(context.targets, dtype=torch.bool))
    return confidence.argsort(dim=1, stable=True)[:, None]


def at_random(context: NoisingContext, parameters: NoisingParameters) -> Tensor:
    """All orders are equally likely."""
    return context.uniform(parameters.views).argsort(2)


def by_history(context: NoisingContext, parameters: NoisingParameters) -> Tensor:
    """Draws without replacement, more likely of digits that the history explains less.

    A digit is drawn with a probability proportional to w = 1 / (f + ``EPS``) among
    those not drawn yet, f as ``history_counts``. Ranks by log w plus Gumbel noise are
    distributed like such draws.
    """
    weight = 1.0 / (history_counts(context) + EPS)
    noise = context.uniform(parameters.views).clamp(min=torch.finfo(torch.float32).tiny)
    gumbel = -(-noise.log()).log()
    return (weight.log()[:, None] + gumbel).argsort(2, descending=True)


def history_counts(context: NoisingContext) -> Tensor:
    """History items that have the target's code, digit by digit, ``(B, L)`` int64."""
    slots = torch.arange(context.history.shape[1], device=context.lengths.device)
    real = slots < context.lengths[:, None]
    same = context.history == context.targets[:, None]
    return (same & real[..., None]).sum(1)
