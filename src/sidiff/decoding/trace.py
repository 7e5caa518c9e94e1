"""The trace of single SIDs through the network, digit by digit.

Starting from the fully masked state, each step fills the open digit with the most
probable code: the order of CPD (DiffGRM, section 3.4) along one path. The codes are
those of given SIDs, or the most probable ones.

Symbols: B users, V SIDs of each, L digits, K codes, R runners-up.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

from sidiff.diffusion.denoiser import DenoisingModel


class TraceStep(NamedTuple):
    """One denoiser call, and the digit that it fills in each SID.

    Attributes:
        filled: codes before the step, -1 where masked ``(B, V, L)``.
        log_p: log-probabilities of all codes, -inf at filled digits ``(B, V, L, K)``.
        digit: the filled digit ``(B, V)``.
        code: its code ``(B, V)``.
        code_log_p: log-probability of that code ``(B, V)``.
    """

    filled: Tensor
    log_p: Tensor
    digit: Tensor
    code: Tensor
    code_log_p: Tensor


class Trace(NamedTuple):
    """The steps of every SID in their order.

    Attributes:
        digits: the filled digit of each step ``(B, V, L)``.
        filled: its code ``(B, V, L)``.
        log_p: log-probability of that code at that step ``(B, V, L)``.
        codes: the most probable codes of that digit ``(B, V, L, R)``, best first; the
            filled code may be among them.
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
        given: fill the codes of ``sids``. If False, fill the most probable codes: only
            the shape of ``sids`` is used, and the result need not exist.

    Yields:
        One step per digit, in the order of filling.
    """
    codes, masked = sids, torch.ones_like(sids, dtype=torch.bool)
    for _ in range(sids.shape[2]):
        log_p = denoiser.logits(codes, masked, memory).log_softmax(-1)
        log_p = log_p.masked_fill(~masked[..., None], -torch.inf)
        choice = sids if given else log_p.argmax(-1)
        choice_log_p = log_p.gather(3, choice[..., None])[..., 0]
        best, digit = choice_log_p.max(2)
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
        runners_up: largest number of codes to keep of every step.
    """
    count = min(runners_up, denoiser.config.codebook_size)
    parts = []
    for step in steps(denoiser, memory, sids):
        place = step.digit[..., None, None].expand(-1, -1, 1, step.log_p.shape[3])
        others = step.log_p.gather(2, place)[:, :, 0].topk(count, dim=2)
        parts.append(
            (step.digit, step.code, step.code_log_p, others.indices, others.values)
        )
    return Trace(*(torch.stack(part, 2) for part in zip(*parts, strict=True)))
