"""The path of single SIDs through the network, digit by digit.

From nothing filled in, each step fills the open digit that has the most probable code
(the order of CPD, DiffGRM section 3.4, along one path instead of a beam). The codes are
those of given SIDs, or the network's own choice.

Symbols: B users, V SIDs of each, L digits, K codes, R runners-up.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

from sidiff.diffusion.denoiser import DenoisingModel


class TraceStep(NamedTuple):
    """One denoiser call and the digit of each SID that it fills.

    Attributes:
        filled: codes before the step, -1 where masked ``(B, V, L)``.
        log_p: log-probabilities of all codes, -inf at filled digits ``(B, V, L, K)``.
        digit: the digit that is filled ``(B, V)``.
        code: the code that it gets ``(B, V)``.
        code_log_p: log-probability of that code ``(B, V)``.
    """

    filled: Tensor
    log_p: Tensor
    digit: Tensor
    code: Tensor
    code_log_p: Tensor


class Trace(NamedTuple):
    """The steps to every SID, the first one first.

    Attributes:
        digits: which digit was filled ``(B, V, L)``.
        filled: with which code ``(B, V, L)``.
        log_p: log-probability of that code when it was filled ``(B, V, L)``.
        codes: the most probable codes of that digit then ``(B, V, L, R)``, best first;
            the one that was filled in may be among them.
        codes_log_p: their log-probabilities.
    """

    digits: Tensor
    filled: Tensor
    log_p: Tensor
    codes: Tensor
    codes_log_p: Tensor


def steps(
    denoiser: DenoisingModel, memory: Any, sids: Tensor, *, given: bool = True
) -> Iterator[TraceStep]:
    """Fill SIDs digit by digit.

    Args:
        denoiser: the trained network.
        memory: the users' histories as the denoiser reads them, batch size B.
        sids: codes ``(B, V, L)``.
        given: fill these codes; else each digit gets its most probable code, of
            ``sids`` only the shape counts, and the result need not be an item's.

    Yields:
        One step per digit, in the order of filling.
    """
    codes, masked = sids, torch.ones_like(sids, dtype=torch.bool)
    for _ in range(sids.shape[2]):
        log_p = denoiser.logits(codes, masked, memory).log_softmax(-1)
        log_p = log_p.masked_fill(~masked[..., None], -torch.inf)
        choice = sids if given else log_p.argmax(-1)
        own = log_p.gather(3, choice[..., None])[..., 0]
        best, digit = own.max(2)
        code = choice.gather(2, digit[..., None])
        filled = codes.masked_fill(masked, -1)
        yield TraceStep(filled, log_p, digit, code[..., 0], best)
        codes = codes.scatter(2, digit[..., None], code)
        masked = masked.scatter(2, digit[..., None], value=False)


@torch.inference_mode()
def trace(
    denoiser: DenoisingModel, memory: Any, sids: Tensor, runners_up: int
) -> Trace:
    """Trace given SIDs.

    Args:
        denoiser: the trained network.
        memory: the users' histories as the denoiser reads them, batch size B.
        sids: codes ``(B, V, L)``.
        runners_up: codes to keep of every step; fewer where there are no more.
    """
    kept = min(runners_up, denoiser.config.codebook_size)
    parts = []
    for step in steps(denoiser, memory, sids):
        place = step.digit[..., None, None].expand(-1, -1, 1, step.log_p.shape[3])
        others = step.log_p.gather(2, place)[:, :, 0].topk(kept, dim=2)
        parts.append(
            (step.digit, step.code, step.code_log_p, others.indices, others.values)
        )
    return Trace(*(torch.stack(part, 2) for part in zip(*parts, strict=True)))
