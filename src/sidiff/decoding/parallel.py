"""Several digits filled from one denoiser call.

Every beam fills digits of its own, for example its most confident open ones
(``most_confident``); the denoiser's distributions of these are independent of each
other, so a way to fill them all is scored by a sum (MDGR, Eqs. 20-23).
The best sums over all beams are found digit by digit: a partly filled beam is ranked by
its score plus the best that each of its remaining digits can add. Unconstrained, that
best can always be had, so the best ``width`` of each round contain the beginnings of
the best ``width`` of the end, and nothing is lost (the pairwise merging of sorted
lists, without the lists). Under the constraint it is a bound: a beam search in which
every step leads to an item.
"""

from __future__ import annotations

import torch
from torch import Tensor

from sidiff.decoding import beams as b
from sidiff.decoding.beams import Beams
from sidiff.decoding.constraint import Constraint
from sidiff.decoding.settings import DecodingParameters


def most_confident(log_p: Tensor, count: int) -> Tensor:
    """The ``count`` most confident digits of each beam, in this order (Eqs. 18-19).

    Args:
        log_p: ``(B, A, L, K)``, -inf where invalid.
        count: digits wanted, at most those open.

    Returns:
        ``(B, A, count)``; by the largest probability of any code.
    """
    confidence = log_p.amax(-1)
    return confidence.sort(dim=2, descending=True, stable=True).indices[..., :count]


def fill_many(
    parameters: DecodingParameters,
    beams: Beams,
    log_p: Tensor,
    digits: Tensor,
    constraint: Constraint,
) -> Beams:
    """The best children of beams that fill several digits each.

    Args:
        parameters: of the search.
        beams: states of B users.
        log_p: their steps ``(B, A, L, K)``, -inf where invalid.
        digits: open ones to fill ``(B, A, count)``, best first.
        constraint: of these users.
    """
    wanted = digits[..., None].expand(*digits.shape, log_p.shape[3])
    log_p = log_p.gather(2, wanted)
    width = parameters.beam
    if parameters.merge == "none":
        return _children(beams, log_p, digits, width, constraint)
    reach = 2 * width
    while True:
        children = _children(beams, log_p, digits, reach, constraint)
        best = b.keep_best(children, width, log_p.shape[3])
        # No other child is better than the last of these; each state has so few ways
        # to it that enough different ones are found.
        complete = best.scores[:, -1] >= children.scores[:, -1]
        if children.scores.shape[1] < reach or bool(complete.all()):
            return best
        reach *= 2


def _children(
    beams: Beams, log_p: Tensor, digits: Tensor, width: int, constraint: Constraint
) -> Beams:
    """The best ``width`` children, equal ones as often as they are reached.

    ``log_p`` ``(B, A, count, K)`` is of ``digits``.
    """
    best = log_p.amax(3)
    # What a digit's code falls short of the digit's best one by.
    regret = log_p - best.masked_fill(best == -torch.inf, 0.0)[..., None]
    children = beams._replace(scores=beams.scores + best.sum(2))
    origin = torch.arange(beams.scores.shape[1], device=best.device)
    origin = origin.expand(len(best), -1)
    size = regret.shape[3]
    for place in range(digits.shape[2]):
        digit = digits[:, :, place].gather(1, origin)
        loss = regret[:, :, place].gather(1, origin[..., None].expand(-1, -1, size))
        if place:  # the first digit's codes are valid already
            loss = constraint.valid_codes(children, digit, loss)
        candidates = (children.scores[..., None] + loss).flatten(1)
        scores, flat = candidates.topk(min(width, candidates.shape[1]), dim=1)
        parent, code = flat // size, flat % size
        origin = origin.gather(1, parent)
        symbol = digit.gather(1, parent) * size + code
        children = children.take(parent, scores)
        children = b.fill(children, symbol, size, constraint.tree)
    return children
