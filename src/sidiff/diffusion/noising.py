"""Noising: which digits of the target are hidden in each training view.

A strategy is a small function of a ``NoisingContext``. It sees the network only
through ``probe``, the confidences it asks for, and never sees the target's codes;
so on-policy, random and curriculum strategies are interchangeable.

OCN, on-policy coherent noising (DiffGRM, section 4.2): rank the digits by how unsure
the model is of them, then hide the hardest one, the two hardest, ... all of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from sidiff.diffusion.denoiser import Denoiser, Memory
from sidiff.errors import SidiffError
from sidiff.parameters import NoisingParameters

Probe = Callable[[Tensor], Tensor]
"""From hidden digits ``(B, L)`` to the confidence in each digit ``(B, L)``."""


@dataclass(frozen=True)
class NoisingContext:
    """What a strategy may look at.

    Attributes:
        batch: number of samples B.
        digits: number of digits L.
        probe: the model's confidences under a mask; costs one decoder pass.
        generator: source of randomness, on ``device``.
        device: where the masks are made.
    """

    batch: int
    digits: int
    probe: Probe
    generator: torch.Generator
    device: torch.device


Strategy = Callable[[NoisingContext, NoisingParameters], Tensor]
"""Returns the hidden digits of all views, ``(B, V, L)`` bool, at least one per view."""


def hidden_digits(context: NoisingContext, parameters: NoisingParameters) -> Tensor:
    """Hidden digits of every view, ``(B, V, L)`` bool, by the named strategy."""
    return STRATEGIES[parameters.strategy](context, parameters)


def on_policy(context: NoisingContext, parameters: NoisingParameters) -> Tensor:
    """OCN: nested views along the model's own order of difficulty.

    ``select: least`` hides the least confident digit first (the paper's OCN), ``most``
    the most confident. ``refresh`` asks the model again after every step; a digit
    is then scored only while hidden, where the release also scored visible ones.
    """
    order = _refreshed_order if parameters.refresh else _static_order
    return _nested(order(context, parameters.select == "least"), parameters.views)


def coherent(context: NoisingContext, parameters: NoisingParameters) -> Tensor:
    """Nested views along one random order per sample (OCN without the policy)."""
    noise = torch.rand(
        context.batch,
        context.digits,
        generator=context.generator,
        device=context.device,
    )
    return _nested(noise.argsort(1), parameters.views)


def independent(context: NoisingContext, parameters: NoisingParameters) -> Tensor:
    """Independent views: each digit hidden with ``hide_probability``.

    Where nothing came out hidden, one digit chosen uniformly is.
    """
    noise = torch.rand(
        context.batch,
        parameters.views,
        context.digits,
        generator=context.generator,
        device=context.device,
    )
    smallest = noise == noise.amin(2, keepdim=True)
    return (noise < parameters.hide_probability) | smallest


STRATEGIES: dict[str, Strategy] = {
    "ocn": on_policy,
    "coherent": coherent,
    "random": independent,
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


def _nested(order: Tensor, views: int) -> Tensor:
    """Hide the first digits of ``order`` ``(B, L)``, more of them in each view."""
    sizes = torch.tensor(view_sizes(order.shape[1], views), device=order.device)
    rank = order.argsort(1)
    return rank[:, None, :] < sizes[:, None]


def _static_order(context: NoisingContext, least_first: bool) -> Tensor:
    confidence = context.probe(_all_hidden(context))
    return confidence.argsort(dim=1, descending=not least_first, stable=True)


def _refreshed_order(context: NoisingContext, least_first: bool) -> Tensor:
    """Reveal one digit at a time, asking again each time; hide in reverse order."""
    hidden = _all_hidden(context)
    worst = -torch.inf if least_first else torch.inf
    revealed = []
    for _ in range(context.digits):
        confidence = context.probe(hidden).masked_fill(~hidden, worst)
        digit = confidence.argmax(1) if least_first else confidence.argmin(1)
        hidden = hidden.scatter(1, digit[:, None], False)
        revealed.append(digit)
    return torch.stack(revealed[::-1], 1)


def _all_hidden(context: NoisingContext) -> Tensor:
    shape = (context.batch, context.digits)
    return torch.ones(shape, dtype=torch.bool, device=context.device)


def confidence_probe(
    denoiser: Denoiser, memory: Memory, targets: Tensor, parameters: NoisingParameters
) -> Probe:
    """The model's confidence in each digit, without gradient and without dropout.

    Args:
        denoiser: the network in training.
        memory: the batch's histories, encoded as in the training pass.
        targets: true codes ``(B, L)``, read at visible digits only.
        parameters: ``confidence`` is the largest probability or the negative entropy;
            ``probe_kv: raw`` repeats the release's unprojected keys and values.
    """
    if parameters.probe_kv == "raw":
        memory = denoiser.unprojected(memory)

    @torch.no_grad()
    def probe(hidden: Tensor) -> Tensor:
        was_training = denoiser.training
        denoiser.eval()
        logits = denoiser.logits(targets[:, None], hidden[:, None], memory)[:, 0]
        denoiser.train(was_training)
        log_p = logits.log_softmax(-1)
        if parameters.confidence == "max_probability":
            return log_p.amax(-1)
        return (log_p.exp() * log_p).sum(-1)

    return probe
