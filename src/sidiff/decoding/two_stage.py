"""Two-stage decoding: a warm-up of single digits, then several digits per call.

MDGR (arXiv 2601.19501, section 4.4): at each step every path fills *its own* most
confident open digits, one per step for W (``warmup_steps``) steps, then m
(``digits_per_step``) per step (Eqs. 16-19). The best ``beam`` children of all paths are
kept (Eqs. 20-23). It takes W + ceil((L - W) / m) denoiser calls instead of L. A warm-up
of all digits is MDGR's serial decoder. CPD chooses among the codes of all open digits
of all paths instead.

``order: random`` is the paper's control: every path fills random open digits. sidiff
adds the merging of equal states and the constraint, as for CPD.

The digits of one call are independent of each other given the state, so the score of a
child is a sum over them. The best sums over all beams are found digit by digit: a
partly filled beam is ranked by its score plus the best log-probability of each
remaining digit. Without the constraint these codes are always available, so the best
``width`` of each round contain the beginnings of the best ``width`` children. Under the
constraint they give an upper bound, and the search is a beam search.
"""

from __future__ import annotations

import torch
from torch import Tensor

from sidiff.decoding.beams import Beams
from sidiff.decoding.decoders import Decoded
from sidiff.decoding.search import Search


@torch.inference_mode()
def decode(search: Search) -> Decoded:
    """Search for complete SIDs of each user, as ``sidiff.decoding.cpd.decode``."""
    parameters, stages = search.parameters, search.parameters.parallel
    beams, filled = search.start(), 0
    digits = beams.codes.shape[2]
    while filled < digits:
        log_p = search.log_p(beams)
        count = 1 if filled < stages.warmup_steps else stages.digits_per_step
        count = min(count, digits - filled)
        if parameters.order == "random":
            chosen = _random_digits(beams.masked, count, parameters.seed + filled)
        else:
            chosen = most_confident(search.allowed(log_p, filled, count), count)
        beams = _fill(search, beams, log_p, chosen)
        filled += count
    return search.decoded(beams)


def most_confident(log_p: Tensor, count: int) -> Tensor:
    """The ``count`` most confident digits of each beam, best first (Eqs. 18-19).

    The confidence in a digit is the largest log-probability of its codes.

    Args:
        log_p: ``(B, A, L, K)``, -inf where invalid.
        count: number of digits, at most the open ones.

    Returns:
        Digits ``(B, A, count)``.
    """
    confidence = log_p.amax(-1)
    return confidence.sort(dim=2, descending=True, stable=True).indices[..., :count]


def _random_digits(masked: Tensor, count: int, seed: int) -> Tensor:
    """Random open digits ``(B, A, count)`` of paths ``(B, A, L)``.

    They are the same for all users, so that no list depends on the rest of the batch.
    """
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.rand(masked.shape[1:], generator=generator).to(masked.device)
    return drawn.masked_fill(~masked, -1.0).topk(count, dim=2).indices


def _fill(search: Search, beams: Beams, log_p: Tensor, digits: Tensor) -> Beams:
    """The best children of beams that fill several digits each.

    Args:
        search: the search.
        beams: its states.
        log_p: their steps ``(B, A, L, K)``, -inf where invalid.
        digits: open digits to fill ``(B, A, count)``, best first.
    """
    index = digits[..., None].expand(*digits.shape, log_p.shape[3])
    log_p = log_p.gather(2, index)
    width = search.parameters.beam
    if search.parameters.merge == "none":
        return _best_children(search, beams, log_p, digits, width)
    reach = 2 * width
    while True:
        children = _best_children(search, beams, log_p, digits, reach)
        best = children.best_states(width, log_p.shape[3])
        # Complete if no other child can be better than the last distinct state.
        complete = best.scores[:, -1] >= children.scores[:, -1]
        if children.scores.shape[1] < reach or bool(complete.all()):
            return best
        reach *= 2


def _best_children(
    search: Search, beams: Beams, log_p: Tensor, digits: Tensor, width: int
) -> Beams:
    """The best ``width`` children; equal states are not merged.

    ``log_p`` is that of ``digits``, ``(B, A, count, K)``.
    """
    best = log_p.amax(3)
    # The difference between each code of a digit and the digit's best code.
    regret = log_p - best.masked_fill(best == -torch.inf, 0.0)[..., None]
    children = beams._replace(scores=beams.scores + best.sum(2))
    origin = torch.arange(beams.scores.shape[1], device=best.device)
    origin = origin.expand(len(best), -1)
    size = regret.shape[3]
    for place in range(digits.shape[2]):
        digit = digits[:, :, place].gather(1, origin)
        loss = regret[:, :, place].gather(1, origin[..., None].expand(-1, -1, size))
        if place and search.tree is not None:  # steps of the first digit are valid
            index = digit[..., None, None].expand(-1, -1, 1, size)
            valid = search.valid_steps(children).gather(2, index)[:, :, 0]
            loss = loss.masked_fill(~valid, -torch.inf)
        candidates = (children.scores[..., None] + loss).flatten(1)
        scores, flat = candidates.topk(min(width, candidates.shape[1]), dim=1)
        parent, code = flat // size, flat % size
        origin = origin.gather(1, parent)
        symbol = digit.gather(1, parent) * size + code
        children = children.take(parent, scores).fill(symbol, size, search.tree)
    return children
