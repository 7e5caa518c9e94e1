"""The masked-diffusion objective: label-smoothed cross-entropy of masked digits.

Beside it two auxiliary losses of ours: a softmax over whole items, and the masked
digits of history items.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F


class Loss(NamedTuple):
    """A loss as sum and weight, so that parts of a batch add up exactly."""

    total: Tensor
    weight: Tensor


def denoising_loss(
    logits: Tensor,
    targets: Tensor,
    masked: Tensor,
    label_smoothing: float,
    reduction: Literal["per_view", "pooled"],
) -> Loss:
    """Cross-entropy of the true codes at masked digits.

    Args:
        logits: ``(B, V, L, K)``.
        targets: true codes ``(B, L)``.
        masked: ``(B, V, L)`` bool, at least one per view.
        label_smoothing: share of the target mass spread over all codes (paper, Eq. 3).
        reduction: ``per_view`` is the paper's L_OCN, the mean over masked digits inside
            a view, then over views and samples; ``pooled`` is the release's, the mean
            over all masked digits of the batch.

    Returns:
        Sum and weight; the loss is their quotient.
    """
    digits = targets[:, None].expand_as(masked)[masked]
    losses = F.cross_entropy(
        logits[masked], digits, reduction="none", label_smoothing=label_smoothing
    )
    if reduction == "pooled":
        return Loss(losses.sum(), masked.sum())
    share = 1.0 / (masked.sum(2, keepdim=True) * masked.shape[1])
    return Loss(
        (losses * share.expand(masked.shape)[masked]).sum(),
        masked.new_tensor(masked.shape[0], dtype=losses.dtype),
    )


def item_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Mean cross-entropy of the true items; full softmax, nothing sampled.

    Args:
        logits: ``(B, N)`` over the items that have an identity.
        targets: place of the true item in them, ``(B,)``; -1 where it has none, which
            counts nothing.
    """
    return F.cross_entropy(logits, targets, ignore_index=-1, reduction="sum") / len(
        targets
    )


def masked_history(
    lengths: Tensor, shape: torch.Size, share: float, generator: torch.Generator
) -> Tensor:
    """History digits to mask, ``(B, T, L)`` bool: each real one with chance ``share``.

    Args:
        lengths: real items per history ``(B,)``.
        shape: B, T, L.
        share: probability, 0 to 1.
        generator: source of randomness.
    """
    drawn = torch.rand(shape, generator=generator, device=lengths.device) < share
    slots = torch.arange(shape[1], device=lengths.device)
    return drawn & (slots < lengths[:, None])[..., None]


def history_loss(logits: Tensor, codes: Tensor, masked: Tensor) -> Tensor:
    """Mean cross-entropy of masked history digits; 0 where none is masked.

    Args:
        logits: ``(n, L, K)`` of the history items with a masked digit.
        codes: their true codes ``(n, L)``.
        masked: which of them are masked ``(n, L)`` bool.
    """
    losses = F.cross_entropy(logits[masked], codes[masked], reduction="sum")
    return losses / masked.sum().clamp(min=1)
