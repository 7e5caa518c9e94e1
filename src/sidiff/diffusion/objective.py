"""The masked-diffusion objective: label-smoothed cross-entropy of hidden digits.

Beside it two auxiliary losses of ours: a softmax over whole items, and the hidden
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
    hidden: Tensor,
    label_smoothing: float,
    reduction: Literal["per_view", "pooled"],
) -> Loss:
    """Cross-entropy of the true codes at hidden digits.

    Args:
        logits: ``(B, V, L, K)``.
        targets: true codes ``(B, L)``.
        hidden: ``(B, V, L)`` bool, at least one per view.
        label_smoothing: share of the target mass spread over all codes (paper, Eq. 3).
        reduction: ``per_view`` is the paper's L_OCN, the mean over hidden digits inside
            a view, then over views and samples; ``pooled`` is the release's, the mean
            over all hidden digits of the batch.

    Returns:
        Sum and weight; the loss is their quotient.
    """
    digits = targets[:, None].expand_as(hidden)[hidden]
    losses = F.cross_entropy(
        logits[hidden], digits, reduction="none", label_smoothing=label_smoothing
    )
    if reduction == "pooled":
        return Loss(losses.sum(), hidden.sum())
    share = 1.0 / (hidden.sum(2, keepdim=True) * hidden.shape[1])
    return Loss(
        (losses * share.expand(hidden.shape)[hidden]).sum(),
        hidden.new_tensor(hidden.shape[0], dtype=losses.dtype),
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


def hidden_history(
    lengths: Tensor, shape: torch.Size, share: float, generator: torch.Generator
) -> Tensor:
    """History digits to hide, ``(B, T, L)`` bool: each real one with chance ``share``.

    Args:
        lengths: real items per history ``(B,)``.
        shape: B, T, L.
        share: probability, 0 to 1.
        generator: source of randomness.
    """
    drawn = torch.rand(shape, generator=generator, device=lengths.device) < share
    slots = torch.arange(shape[1], device=lengths.device)
    return drawn & (slots < lengths[:, None])[..., None]


def history_loss(logits: Tensor, codes: Tensor, hidden: Tensor) -> Tensor:
    """Mean cross-entropy of hidden history digits; 0 where none is hidden.

    Args:
        logits: ``(n, L, K)`` of the history items with a hidden digit.
        codes: their true codes ``(n, L)``.
        hidden: which of them are hidden ``(n, L)`` bool.
    """
    losses = F.cross_entropy(logits[hidden], codes[hidden], reduction="sum")
    return losses / hidden.sum().clamp(min=1)
