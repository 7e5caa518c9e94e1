"""The masked-diffusion objective: label-smoothed cross-entropy of masked digits."""

from __future__ import annotations

from typing import Literal, NamedTuple

from torch import Tensor
from torch.nn import functional as F


class Loss(NamedTuple):
    """A loss as sum and weight, which add up over the parts of a batch."""

    total: Tensor
    weight: Tensor


def denoising_loss(
    logits: Tensor,
    targets: Tensor,
    masked: Tensor,
    label_smoothing: float,
    reduction: Literal["per_view", "pooled", "sum"],
) -> Loss:
    """Cross-entropy of the true codes at masked digits.

    Args:
        logits: ``(B, V, L, K)``.
        targets: true codes ``(B, L)``.
        masked: ``(B, V, L)`` bool, at least one per view.
        label_smoothing: share of the target mass spread over all codes.
        reduction: ``per_view`` is DiffGRM's L_OCN, the mean over masked digits inside
            a view, then over views and samples; ``pooled`` is its release's, the mean
            over all masked digits of the batch; ``sum`` is MDGR's (Eq. 15), the sum
            over masked digits, then the mean over views and samples.

    Returns:
        Sum and weight; the loss is their quotient.
    """
    digits = targets[:, None].expand_as(masked)[masked]
    losses = F.cross_entropy(
        logits[masked], digits, reduction="none", label_smoothing=label_smoothing
    )
    if reduction == "pooled":
        return Loss(losses.sum(), masked.sum())
    samples = masked.new_tensor(masked.shape[0], dtype=losses.dtype)
    if reduction == "sum":
        return Loss(losses.sum() / masked.shape[1], samples)
    share = 1.0 / (masked.sum(2, keepdim=True) * masked.shape[1])
    return Loss((losses * share.expand(masked.shape)[masked]).sum(), samples)
