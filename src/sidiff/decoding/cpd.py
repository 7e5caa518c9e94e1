"""CPD, confidence-guided parallel denoising, and its controls of one order for all.

DiffGRM (arXiv 2510.21805), Eqs. 8-10: starting from a fully masked SID, each step
fills one digit per beam and keeps the best ``beam`` triples (beam, digit, code)
over all beams, open digits and codes by summed log-probability. Beams may fill
their digits in different orders. The controls ``order: random`` and ``fixed`` allow one
digit a step, the same for all users.

sidiff adds the merging of equal states (``sidiff.decoding.beams``) and the constraint:
a beam takes only steps that lead to an item that may be recommended.
"""

from __future__ import annotations

import torch
from torch import Tensor

from sidiff.decoding.beams import Beams
from sidiff.decoding.decoders import Decoded
from sidiff.decoding.search import Search


@torch.inference_mode()
def decode(search: Search) -> Decoded:
    """Up to ``beam`` complete SIDs for each user of a batch.

    Equal SIDs may repeat unless merged; unconstrained, a SID need not belong to an
    item.
    """
    p, beams = search.parameters, search.start()
    digits, merged = beams.codes.shape[2], p.merge != "none"
    for filled in range(digits):
        log_p = search.allowed(search.log_p(beams), filled, 1)
        if filled == digits - 1 and p.last_step == "greedy":
            beams = _own_best_codes(search, beams, log_p)
        else:
            width = p.beam * (filled + 1) if merged else p.beam
            beams = _best_children(search, beams, log_p, width)
        if merged:
            beams = beams.best_states(p.beam, log_p.shape[3])
    return search.decoded(beams)


def _best_children(search: Search, beams: Beams, log_p: Tensor, width: int) -> Beams:
    """The best children of all beams, equal ones as often as they are reached.

    Args:
        search: the search.
        beams: the parents.
        log_p: log-probabilities ``(B, A, L, K)``, -inf where a step is not allowed.
        width: most children per user.
    """
    digits, size = log_p.shape[2:]
    candidates = (beams.scores[..., None, None] + log_p).flatten(1)
    scores, flat = candidates.topk(min(width, candidates.shape[1]), dim=1)
    parents = beams.take(flat // (digits * size), scores)
    return parents.fill(flat % (digits * size), size, search.tree)


def _own_best_codes(search: Search, beams: Beams, log_p: Tensor) -> Beams:
    """Each beam with the best code of its last digit (DiffGRM's release)."""
    score, choice = log_p.flatten(2).max(2)
    scores, parent = (beams.scores + score).sort(dim=1, descending=True, stable=True)
    parents = beams.take(parent, scores)
    return parents.fill(choice.gather(1, parent), log_p.shape[3], search.tree)
