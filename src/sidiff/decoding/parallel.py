"""Several digits filled from one denoiser call.

Every beam takes its ``count`` most confident open digits; the denoiser's distributions
of these are independent of each other, so a way to fill them all is scored by a sum.
The best sums over all beams are found digit by digit: a partly filled beam is ranked by
its score plus the best that each of its remaining digits can add. Unconstrained, that
best can always be had, so the best ``width`` of each round contain the beginnings of
the best ``width`` of the end, and nothing is lost (the pairwise merging of sorted
lists, without the lists). Under the constraint it is a bound: a beam search in which
every step leads to an item.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor

from sidiff.decoding import beams as b
from sidiff.decoding.beams import Beams
from sidiff.decoding.constraint import Constraint
from sidiff.decoding.search import Search

Confidence = Literal["max_probability", "negative_entropy"]


class _Choice(NamedTuple):
    """The digits that every beam fills, best first.

    Attributes:
        digits: ``(B, A, count)``.
        log_p: log-probabilities of their codes ``(B, A, count, K)``.
    """

    digits: Tensor
    log_p: Tensor


def confidences(log_p: Tensor, measure: Confidence) -> Tensor:
    """How sure each digit is, ``(B, A, L)``; -inf where no code is legal.

    Args:
        log_p: ``(B, A, L, K)``, -inf where illegal.
        measure: log of the largest probability, or negative entropy (nats) of the
            legal codes, among which probability is shared out: otherwise a digit whose
            legal codes are all but impossible would count as sure.
    """
    best = log_p.amax(-1)
    if measure == "max_probability":
        return best
    # Where nothing is legal, anything but NaN.
    shared = log_p - log_p.logsumexp(-1, keepdim=True).nan_to_num(neginf=0.0)
    known = shared.masked_fill(log_p == -torch.inf, 0.0)
    negative_entropy = (shared.exp() * known).sum(-1)
    return negative_entropy.masked_fill(best == -torch.inf, -torch.inf)


def fill_many(
    search: Search,
    beams: Beams,
    log_p: Tensor,
    filled: int,
    count: int,
    constraint: Constraint | None,
    measure: Confidence,
) -> Beams:
    """Fill ``count`` digits of every beam and keep the best children.

    Args:
        search: parameters and order.
        beams: states of B users, ``filled`` digits each.
        log_p: their steps ``(B, A, L, K)``, -inf where illegal.
        filled: number of filled digits.
        count: digits to fill, at most those open.
        constraint: of these users; None where every step is legal.
        measure: of the digits' confidence.
    """
    parameters = search.parameters
    log_p = search.allowed(log_p, filled, count)
    sure = confidences(log_p, measure)
    digits = sure.sort(dim=2, descending=True, stable=True).indices[..., :count]
    wanted = digits[..., None].expand(*digits.shape, log_p.shape[3])
    choice = _Choice(digits, log_p.gather(2, wanted))
    width, size = parameters.beam, log_p.shape[3]
    if parameters.merge == "none":
        return _children(beams, choice, width, constraint)
    reach = 2 * width
    while True:
        children = _children(beams, choice, reach, constraint)
        best = b.keep_best(children, width, size)
        # No other child is better than the last of these; each state has so few ways
        # to it that enough different ones are found.
        complete = best.scores[:, -1] >= children.scores[:, -1]
        if children.scores.shape[1] < reach or bool(complete.all()):
            return best
        reach *= 2


def _children(
    beams: Beams, choice: _Choice, width: int, constraint: Constraint | None
) -> Beams:
    """The best ``width`` children, equal ones as often as they are reached."""
    best = choice.log_p.amax(3)
    # What a digit's code falls short of the digit's best one by.
    regret = choice.log_p - best.masked_fill(best == -torch.inf, 0.0)[..., None]
    children = beams._replace(scores=beams.scores + best.sum(2))
    tree = None if constraint is None else constraint.tree
    origin = torch.arange(beams.scores.shape[1], device=best.device)
    origin = origin.expand(len(best), -1)
    size = regret.shape[3]
    for place in range(choice.digits.shape[2]):
        digit = choice.digits[:, :, place].gather(1, origin)
        loss = regret[:, :, place].gather(1, origin[..., None].expand(-1, -1, size))
        if place and constraint is not None:
            # The first digit's codes are legal already.
            legal = constraint.legal_codes(children, digit)
            loss = loss.masked_fill(~legal, -torch.inf)
        candidates = (children.scores[..., None] + loss).flatten(1)
        scores, flat = candidates.topk(min(width, candidates.shape[1]), dim=1)
        parent, code = flat // size, flat % size
        origin = origin.gather(1, parent)
        symbol = digit.gather(1, parent) * size + code
        children = b.fill(children.take(parent, scores), symbol, size, tree)
    return children
