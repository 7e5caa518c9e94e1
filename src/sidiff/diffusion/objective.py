"""The masked-diffusion objective: label-smoothed cross-entropy of hidden digits."""

from __future__ import annotations

from typing import Literal, NamedTuple

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
