"""Partial SIDs under search: their expansion and the merging of equal ones.

The same partial SID reached in two orders is one state. A state of t filled digits has
at most t parents when parents are distinct, so the best ``t * beam`` candidates always
hold the best ``beam`` distinct states by their best score (``max``): nothing is lost.
Under ``sum``, a state's score is the log of the summed probabilities of all its
arrivals in the beam. Its arrivals are looked up, not hoped to be among the candidates,
and the candidates are widened until no state outside of them can belong to the best.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from sidiff.decoding.catalogue import Continuations
from sidiff.decoding.keys import repeats, state_keys


class Beams(NamedTuple):
    """Partial SIDs of every user, best first.

    Attributes:
        codes: ``(B, A, L)``; meaningless where masked.
        masked: ``(B, A, L)``.
        scores: ``(B, A)``; -inf marks an unused slot.
        nodes: place in the lattice ``(B, A)``; unused without one.
    """

    codes: Tensor
    masked: Tensor
    scores: Tensor
    nodes: Tensor

    def take(self, rows: Tensor, scores: Tensor) -> Beams:
        """The beams ``rows`` ``(B, C)`` of each user, with new scores."""
        index = rows[..., None].expand(-1, -1, self.codes.shape[2])
        return Beams(
            self.codes.gather(1, index),
            self.masked.gather(1, index),
            scores,
            self.nodes.gather(1, rows),
        )

    def keys(self, codes_per_digit: int) -> Tensor:
        """A number per state ``(B, A)``; -1 in unused slots."""
        keys = state_keys(self.codes, self.masked, codes_per_digit)
        return keys.masked_fill(self.scores == -torch.inf, -1)


def start(batch: int, digits: int, device: torch.device) -> Beams:
    """One fully masked SID per user."""
    return Beams(
        torch.zeros(batch, 1, digits, dtype=torch.int64, device=device),
        torch.ones(batch, 1, digits, dtype=torch.bool, device=device),
        torch.zeros(batch, 1, device=device),
        torch.zeros(batch, 1, dtype=torch.int64, device=device),
    )


def fill(beams: Beams, choice: Tensor, size: int, tree: Continuations | None) -> Beams:
    """Fill one digit of each beam; ``choice`` is digit * K + code, ``(B, A)``."""
    digit, code = choice // size, choice % size
    return Beams(
        beams.codes.scatter(2, digit[..., None], code[..., None]),
        beams.masked.scatter(2, digit[..., None], False),
        beams.scores,
        beams.nodes if tree is None else tree.follow(beams.nodes, digit, code),
    )


def best_children(
    beams: Beams, log_p: Tensor, width: int, tree: Continuations | None
) -> Beams:
    """The best children of all beams, equal ones as often as they are reached.

    Args:
        beams: the parents.
        log_p: log-probabilities ``(B, A, L, K)``, -inf where a step is not allowed.
        width: most children per user.
        tree: to follow, where steps are constrained.
    """
    symbols = log_p.shape[2] * log_p.shape[3]
    candidates = (beams.scores[..., None, None] + log_p).flatten(1)
    scores, flat = candidates.topk(min(width, candidates.shape[1]), dim=1)
    parents = beams.take(flat // symbols, scores)
    return fill(parents, flat % symbols, log_p.shape[3], tree)


def keep_best(beams: Beams, width: int, codes_per_digit: int) -> Beams:
    """Keep each state once, with its best score; beams come best first."""
    again = repeats(beams.keys(codes_per_digit))
    scores = beams.scores.masked_fill(again, -torch.inf)
    scores, kept = scores.topk(min(width, scores.shape[1]), dim=1)
    return beams.take(kept, scores)


def expand_max(
    beams: Beams, log_p: Tensor, width: int, filled: int, tree: Continuations | None
) -> Beams:
    """The best distinct children, each by its best arrival; ``filled`` digits each."""
    children = best_children(beams, log_p, width * filled, tree)
    return keep_best(children, width, log_p.shape[3])


def expand_sum(
    beams: Beams, log_p: Tensor, width: int, filled: int, tree: Continuations | None
) -> Beams:
    """The best distinct children, each by the sum of its arrivals."""
    total = log_p[0].numel()
    reach = width * filled
    while True:
        children = best_children(beams, log_p, reach, tree)
        outside = children.scores[:, -1]  # no other candidate is better than this
        distinct = keep_best(children, reach, log_p.shape[3])
        scores = arrival_sums(beams, distinct, log_p)
        best, kept = scores.topk(min(width, scores.shape[1]), dim=1)
        # A state outside has at most `filled` arrivals, none above `outside`.
        lost = (outside + math.log(filled) > best[:, -1]).any()
        if reach >= total or not bool(lost):
            return distinct.take(kept, best)
        reach *= 2


def arrival_sums(beams: Beams, children: Beams, log_p: Tensor) -> Tensor:
    """Log of the summed probabilities of every way from ``beams`` to each child.

    Args:
        beams: distinct parents ``(B, A)``.
        children: states ``(B, C)``, of one more filled digit.
        log_p: the steps ``(B, A, L, K)``.

    Returns:
        ``(B, C)``; -inf for an unused slot.
    """
    digits, size = log_p.shape[2:]
    count = beams.scores.shape[1]
    # The parent of a child by digit d is the child with d masked again.
    codes = children.codes[:, :, None].expand(-1, -1, digits, -1)
    again = torch.eye(digits, dtype=torch.bool, device=codes.device)
    masked = children.masked[:, :, None] | again
    keys = state_keys(
        torch.cat([beams.codes, codes.flatten(1, 2)], 1),
        torch.cat([beams.masked, masked.flatten(1, 2)], 1),
        size,
    )
    known = keys[:, :count].masked_fill(beams.scores == -torch.inf, -1)
    known, order = known.sort(dim=1)
    wanted = keys[:, count:].contiguous()
    place = torch.searchsorted(known, wanted).clamp(max=count - 1)
    found = known.gather(1, place) == wanted
    parent = order.gather(1, place)
    symbol = (
        torch.arange(digits, device=codes.device) * size + children.codes
    ).flatten(1)
    step = log_p.flatten(1).gather(1, parent * (digits * size) + symbol)
    arrivals = (beams.scores.gather(1, parent) + step).view_as(children.codes)
    valid = found.view_as(children.masked) & ~children.masked
    sums = arrivals.masked_fill(~valid, -torch.inf).logsumexp(2)
    return sums.masked_fill(children.scores == -torch.inf, -torch.inf)
