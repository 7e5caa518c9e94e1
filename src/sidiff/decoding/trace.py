"""The trace of a given SID through the network: a step for every digit.

From nothing filled in, each step fills the open digit of whose code in that SID the
network is surest (the order of confidence-guided decoding, DiffGRM section 3.4, along
one path instead of a beam).

Symbols: B users, V SIDs of each, L digits, K codes, R runners-up.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from sidiff.diffusion.denoiser import DenoisingModel


class Trace(NamedTuple):
    """The steps to every SID, the first one first.

    Attributes:
        digits: which digit was filled ``(B, V, L)``.
        filled: with which code ``(B, V, L)``.
        log_p: log-probability of that code when it was filled ``(B, V, L)``.
        codes: the likeliest codes of that digit then ``(B, V, L, R)``, best first; the
            one that was filled in may be among them.
        codes_log_p: their log-probabilities.
    """

    digits: Tensor
    filled: Tensor
    log_p: Tensor
    codes: Tensor
    codes_log_p: Tensor


@torch.inference_mode()
def trace(
    denoiser: DenoisingModel, memory: Any, sids: Tensor, runners_up: int
) -> Trace:
    """Fill the SIDs in digit by digit.

    Args:
        denoiser: the trained network.
        memory: the users' histories as the denoiser reads them, batch size B.
        sids: codes ``(B, V, L)``.
        runners_up: codes to note at every step; fewer where there are no more.
    """
    masked = torch.ones_like(sids, dtype=torch.bool)
    kept = min(runners_up, denoiser.config.codebook_size)
    steps = []
    for _ in range(sids.shape[2]):
        log_p = denoiser.logits(sids, masked, memory).log_softmax(-1)
        own = log_p.gather(3, sids[..., None])[..., 0]
        best, digit = own.masked_fill(~masked, -torch.inf).max(2)
        place = digit[..., None, None].expand(-1, -1, 1, log_p.shape[3])
        others = log_p.gather(2, place)[:, :, 0].topk(kept, dim=2)
        filled = sids.gather(2, digit[..., None])[..., 0]
        steps.append((digit, filled, best, others.indices, others.values))
        masked = masked.scatter(2, digit[..., None], value=False)
    return Trace(*(torch.stack(part, 2) for part in zip(*steps, strict=True)))
