"""Which digits are masked first.

OCN, on-policy coherent noising, is DiffGRM's (section 4.2). That the user's history has
a say is MDGR's (arXiv 2601.19501); the statistics and the formula are ours.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from sidiff.diffusion.noising.context import NoisingContext
from sidiff.parameters import HistoryOrderParameters, NoisingParameters

Order = Callable[[NoisingContext, NoisingParameters, int], Tensor]
"""Returns the digits in the order of masking, ``(B, orders, L)``; 1 order may be 1."""


def by_confidence(
    context: NoisingContext, parameters: NoisingParameters, orders: int
) -> Tensor:
    """OCN: the model's own order of difficulty, the same in all views.

    ``select: least`` masks the least confident digit first (the paper's OCN), ``most``
    the most confident. ``refresh`` asks the model again after every step; a digit
    is then scored only while masked, where the release also scored visible ones.
    """
    del orders
    order = _refreshed_order if parameters.refresh else _static_order
    return order(context, parameters.select == "least")[:, None]


def at_random(
    context: NoisingContext, parameters: NoisingParameters, orders: int
) -> Tensor:
    """All orders are equally likely."""
    del parameters
    return context.uniform(orders).argsort(2)


def by_history(
    context: NoisingContext, parameters: NoisingParameters, orders: int
) -> Tensor:
    """Drawn without replacement, more likely what the history explains less (or more).

    A digit is drawn with a probability proportional to
    ``exp(sign * surprise / temperature)`` among those not drawn yet (Gumbel top-k).
    """
    settings = parameters.history
    surprise = SURPRISES[settings.statistic](context, settings)
    noise = context.uniform(orders).clamp(min=torch.finfo(torch.float32).tiny)
    gumbel = -(-noise.log()).log()
    priority = settings.sign * surprise / settings.temperature
    return (priority[:, None] + gumbel).argsort(2, descending=True)


ORDERS: dict[str, Order] = {
    "confidence": by_confidence,
    "history": by_history,
    "random": at_random,
}


def unsupported(context: NoisingContext, parameters: HistoryOrderParameters) -> Tensor:
    """1 less the share of a history that has the target's code, ``(B, L)``."""
    return 1.0 - history_support(context, parameters.recency)


def rare(context: NoisingContext, parameters: HistoryOrderParameters) -> Tensor:
    """How rare the target's codes are in training at all, ``(B, L)``."""
    del parameters
    digit = torch.arange(context.targets.shape[1], device=context.targets.device)
    return context.rarity[digit, context.targets]


SURPRISES: dict[str, Callable[[NoisingContext, HistoryOrderParameters], Tensor]] = {
    "support": unsupported,
    "rarity": rare,
}
"""How little is known of each digit of the target beforehand, 0 to 1, ``(B, L)``."""


def history_support(context: NoisingContext, recency: float) -> Tensor:
    """Share of each history that has the target's code, digit by digit, ``(B, L)``.

    Items count by how recent they are: one of age n (0: the last) weighs exp(-n /
    ``recency``), and the weights of a history add up to 1. 0 without a history.
    """
    slots = torch.arange(context.history.shape[1], device=context.lengths.device)
    age = context.lengths[:, None] - 1 - slots
    weight = torch.exp(-age / recency).masked_fill(age < 0, 0.0)
    total = weight.sum(1, keepdim=True)
    weight = weight / torch.where(total > 0, total, 1.0)
    same = context.history == context.targets[:, None]
    return torch.einsum("bt,btl->bl", weight, same.to(weight.dtype))


def rarity(codes: Tensor, counts: Tensor, codes_per_digit: int) -> Tensor:
    """Inverse document frequency of every code, scaled to 0 (in all) .. 1 (in one).

    Args:
        codes: of all items ``(N, L)``.
        counts: training interactions of each item ``(N,)``; these are the documents.
        codes_per_digit: K.

    Returns:
        ``log(D / n) / log(D)`` of D documents, n with the code, ``(L, K)``; 1 where
        there is none.
    """
    digits = codes.shape[1]
    seen = torch.zeros(digits, codes_per_digit, dtype=torch.float64)
    weights = counts.to(torch.float64).expand(digits, -1)
    seen.scatter_add_(1, codes.T.contiguous(), weights.contiguous())
    documents = counts.sum().clamp(min=2).to(torch.float64)
    result = torch.log(documents / seen.clamp(min=1)) / torch.log(documents)
    return result.to(torch.float32)


def _static_order(context: NoisingContext, least_first: bool) -> Tensor:
    confidence = context.probe(torch.ones_like(context.targets, dtype=torch.bool))
    return confidence.argsort(dim=1, descending=not least_first, stable=True)


def _refreshed_order(context: NoisingContext, least_first: bool) -> Tensor:
    """Reveal one digit at a time, asking again each time; mask in reverse order."""
    masked = torch.ones_like(context.targets, dtype=torch.bool)
    worst = -torch.inf if least_first else torch.inf
    revealed = []
    for _ in range(context.targets.shape[1]):
        confidence = context.probe(masked).masked_fill(~masked, worst)
        digit = confidence.argmax(1) if least_first else confidence.argmin(1)
        masked = masked.scatter(1, digit[:, None], False)
        revealed.append(digit)
    return torch.stack(revealed[::-1], 1)
