"""CPD, confidence-guided parallel denoising, and its controls with a given order.

DiffGRM (arXiv 2510.21805), Eqs. 8-10: starting from a fully masked SID, each step
fills one digit per beam and keeps the best ``beam`` triples (beam, digit, code)
over all beams, open digits and codes by summed log-probability. Beams may fill
their digits in different orders. The controls ``order: random`` and ``fixed`` fill the
same digit of all users in each step.

sidiff adds the merging of equal states (``sidiff.decoding.beams``) and the constraint:
every step leads to an allowed item.
"""

from __future__ import annotations

import torch
from torch import Tensor

from sidiff.decoding.beams import Beams
from sidiff.decoding.decoders import Decoded
from sidiff.decoding.search import Search


@torch.inference_mode()
def decode(search: Search) -> Decoded:
    """Search for up to ``beam`` complete SIDs of each user.

    Without merging a SID may occur several times. Without the constraint a SID need not
    exist.
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
    """The best children of all beams; equal states are not merged.

    Args:
        search: the search.
        beams: the parents.
        log_p: log-probabilities ``(B, A, L, K)``, -inf where a step is not allowed.
        width: largest number of children per user.
    """
    digits, size = log_p.shape[2:]
    candidates = (beams.scores[..., None, None] + log_p).flatten(1)
    scores, flat = candidates.topk(min(width, candidates.shape[1]), dim=1)
    parents = beams.take(flat // (digits * size), scores)
    return parents.fill(flat % (digits * size), size, search.tree)


def _own_best_codes(search: Search, beams: Beams, log_p: Tensor) -> Beams:
    """Fill the last digit of each beam with its best code (DiffGRM's release)."""
    score, choice = log_p.flatten(2).max(2)
    scores, parent = (beams.scores + score).sort(dim=1, descending=True, stable=True)
    parents = beams.take(parent, scores)
    return parents.fill(choice.gather(1, parent), log_p.shape[3], search.tree)
