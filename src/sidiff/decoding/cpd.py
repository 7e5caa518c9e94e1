"""CPD, confidence-guided parallel denoising, and its fixed-order controls.

DiffGRM (arXiv 2510.21805), Eqs. 8-10: starting from a fully masked SID, each step
fills one digit per beam and keeps the best ``beam`` triples (beam, digit, code)
over all beams, open digits and codes by summed log-probability. Beams may fill
their digits in different orders. ``order: random`` and ``fixed`` allow one digit a
step, the same for everybody, as controls.

Ours are the merging of equal states (``sidiff.decoding.beams``) and the constraint: a
beam may only take steps behind which there is an item that may be recommended.
"""

from __future__ import annotations

import torch
from torch import Tensor

from sidiff.decoding import beams as b
from sidiff.decoding.beams import Beams
from sidiff.decoding.decoders import Decoded
from sidiff.decoding.search import Search


@torch.inference_mode()
def decode(search: Search) -> Decoded:
    """Up to ``beam`` complete SIDs for each user of a batch.

    Equal SIDs may repeat unless merged; unconstrained, a SID need not belong to an
    item.
    """
    beams = search.start()
    for filled in range(beams.codes.shape[2]):
        beams = fill_one(search, beams, search.log_p(beams), filled)
    return search.decoded(beams)


def fill_one(search: Search, beams: Beams, log_p: Tensor, filled: int) -> Beams:
    """The best children over all beams, open digits and codes.

    Args:
        search: parameters, order and constraint.
        beams: states of B users, ``filled`` digits each.
        log_p: their steps ``(B, A, L, K)``.
        filled: number of filled digits.
    """
    p, tree, size = search.parameters, search.constraint.tree, log_p.shape[3]
    log_p = search.allowed(log_p, filled, 1)
    merged = p.merge != "none"
    if filled == log_p.shape[2] - 1 and p.last_step == "greedy":
        # As the release: each beam takes the best code of its open digit.
        score, choice = log_p.flatten(2).max(2)
        scores = beams.scores + score
        scores, parent = scores.sort(dim=1, descending=True, stable=True)
        children = beams.take(parent, scores)
        children = b.fill(children, choice.gather(1, parent), size, tree)
    else:
        width = p.beam * (filled + 1) if merged else p.beam
        children = b.best_children(beams, log_p, width, tree)
    return b.keep_best(children, p.beam, size) if merged else children
