"""Several digits filled from one denoiser call.

Every beam fills digits of its own, for example its most confident open ones
(``surest``); the denoiser's distributions of these are independent of each other, so a
way to fill them all is scored by a sum (MDGR, arXiv 2601.19501, Eqs. 20-23).
The best sums over all beams are found digit by digit: a partly filled beam is ranked by
its score plus the best that each of its remaining digits can add. Unconstrained, that
best can always be had, so the best ``width`` of each round contain the beginnings of
the best ``width`` of the end, and nothing is lost (the pairwise merging of sorted
lists, without the lists). Under the constraint it is a bound: a beam search in which
every step leads to an item.

Under ``merge: sum`` a state's score is the sum over its ways from all beams. A state
outside the best children may still have the greater sum, so more children are made
until none can, or until there are ``WIDEST`` times as many as beams: flat distributions
have no end of children that are all but equally good.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from sidiff.decoding import beams as b
from sidiff.decoding.beams import Beams
from sidiff.decoding.constraint import Constraint
from sidiff.decoding.search import Search

WIDEST = 16
"""Children made in search of the best sums, at most, as a multiple of the beam; more
only where a single state may be reached by more ways."""


class _Choice(NamedTuple):
    """The digits that every beam fills, best first.

    Attributes:
        digits: ``(B, A, count)``.
        log_p: log-probabilities of their codes ``(B, A, count, K)``.
    """

    digits: Tensor
    log_p: Tensor


def surest(log_p: Tensor, count: int) -> Tensor:
    """The ``count`` most confident digits of each beam, surest first (Eqs. 18-19).

    Args:
        log_p: ``(B, A, L, K)``, -inf where illegal.
        count: digits wanted, at most those open.

    Returns:
        ``(B, A, count)``; by the largest probability of any code.
    """
    confidence = log_p.amax(-1)
    return confidence.sort(dim=2, descending=True, stable=True).indices[..., :count]


def fill_many(
    search: Search,
    beams: Beams,
    log_p: Tensor,
    digits: Tensor,
    filled: int,
    constraint: Constraint | None,
) -> Beams:
    """Fill several digits of every beam and keep the best children.

    Args:
        search: parameters.
        beams: states of B users, ``filled`` digits each.
        log_p: their steps ``(B, A, L, K)``, -inf where illegal.
        digits: open ones to fill ``(B, A, count)``.
        filled: number of filled digits.
        constraint: of these users; None where every step is legal.
    """
    parameters = search.parameters
    count = digits.shape[2]
    wanted = digits[..., None].expand(*digits.shape, log_p.shape[3])
    choice = _Choice(digits, log_p.gather(2, wanted))
    width, size = parameters.beam, log_p.shape[3]
    if parameters.merge == "none":
        return _children(beams, choice, width, constraint)
    # No state is reached by more ways than these, each from a parent of its own.
    ways = min(beams.scores.shape[1], math.comb(filled + count, count))
    scored = ways if parameters.merge == "sum" else 1
    widest = max(WIDEST, ways) * width
    best_child = beams.scores + choice.log_p.amax(3).sum(2)
    reach = 2 * width
    while True:
        children = _children(beams, choice, reach, constraint)
        exhausted = children.scores.shape[1] < reach
        # No other child is better than this, nor than its parent's best.
        outside = torch.minimum(best_child, children.scores[:, -1:])
        distinct = b.keep_best(children, reach, size)
        if parameters.merge == "sum":
            distinct = distinct._replace(scores=_arrivals(beams, distinct, choice))
        scores, kept = distinct.scores.topk(min(width, distinct.scores.shape[1]), dim=1)
        lost = outside.topk(scored, dim=1).values.logsumexp(1) > scores[:, -1]
        if exhausted or reach >= widest or not bool(lost.any()):
            return distinct.take(kept, scores)
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


def _arrivals(beams: Beams, children: Beams, choice: _Choice) -> Tensor:
    """Log of the summed probabilities of every way from ``beams`` to each child.

    Returns:
        ``(B, C)``; -inf for an unused slot.
    """
    # What a parent has filled, its child has alike, (B, C, A, L).
    same = children.codes[:, :, None] == beams.codes[:, None]
    same &= ~children.masked[:, :, None]
    agrees = (same | beams.masked[:, None]).all(3)
    count, size = choice.log_p.shape[2:]
    digits = choice.digits[:, None].expand(-1, children.scores.shape[1], -1, -1)
    shape = (*digits.shape[:3], -1)
    open_ = children.masked[:, :, None].expand(shape).gather(3, digits)
    code = children.codes[:, :, None].expand(shape).gather(3, digits)
    step = torch.arange(beams.scores.shape[1] * count, device=code.device) * size
    index = step.view(-1, count) + code
    log_p = choice.log_p.flatten(1).gather(1, index.flatten(1)).view_as(code)
    ways = beams.scores[:, None] + log_p.sum(3)
    ways = ways.masked_fill(~agrees | open_.any(3), -torch.inf)
    return ways.logsumexp(2).masked_fill(children.scores == -torch.inf, -torch.inf)
