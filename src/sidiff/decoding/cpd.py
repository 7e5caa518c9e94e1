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

from typing import Any

import torch
from torch import Tensor

from sidiff.decoding import beams as b
from sidiff.decoding.beams import Beams
from sidiff.decoding.catalogue import Catalogue, Continuations
from sidiff.decoding.results import Decoded
from sidiff.decoding.search import Search
from sidiff.decoding.settings import DecodingParameters
from sidiff.diffusion.denoiser import DenoisingModel


@torch.inference_mode()
def decode(
    denoiser: DenoisingModel,
    memory: Any,
    parameters: DecodingParameters,
    catalogue: Catalogue,
    excluded: Tensor,
) -> Decoded:
    """Generate SIDs for a batch of users.

    Args:
        denoiser: the trained network.
        memory: the users' encoded histories, batch size B.
        parameters: beam width, order, merging, constraint, form of the last step.
        catalogue: the existing SIDs; read only under ``constraint: items``.
        excluded: rows of SIDs that a user must not get, -1 for none, ``(B, E)``; read
            only under ``constraint: items``.

    Returns:
        Up to ``beam`` complete SIDs per user. Equal SIDs may repeat unless merged;
        unconstrained, a SID need not belong to an item.
    """
    search = Search.build(denoiser, parameters, catalogue, excluded)
    beams = b.start(len(excluded), denoiser.config.digits, excluded.device)
    for filled in range(denoiser.config.digits):
        log_p = search.log_p(beams, memory, search.constraint)
        beams = fill_one(search, beams, log_p, filled)
    return search.decoded(beams)


def fill_one(search: Search, beams: Beams, log_p: Tensor, filled: int) -> Beams:
    """Fill one digit: the best children over all beams, open digits and codes.

    Args:
        search: parameters, order and constraint.
        beams: states of B users, ``filled`` digits each.
        log_p: their steps ``(B, A, L, K)``.
        filled: number of filled digits.
    """
    parameters = search.parameters
    tree = None if search.constraint is None else search.constraint.tree
    log_p = search.allowed(log_p, filled, 1)
    if filled == log_p.shape[2] - 1 and parameters.last_step == "greedy":
        return _fill_greedily(beams, log_p, parameters, tree)
    if parameters.merge == "none":
        return b.best_children(beams, log_p, parameters.beam, tree)
    return b.expand_max(beams, log_p, parameters.beam, filled + 1, tree)


def _fill_greedily(
    beams: Beams,
    log_p: Tensor,
    parameters: DecodingParameters,
    tree: Continuations | None,
) -> Beams:
    """The release's last step: each beam takes the best code of its open digit."""
    score, choice = log_p.flatten(2).max(2)
    scores, parent = (beams.scores + score).sort(dim=1, descending=True, stable=True)
    choice = choice.gather(1, parent)
    children = b.fill(beams.take(parent, scores), choice, log_p.shape[3], tree)
    if parameters.merge == "none":
        return children
    return b.keep_best(children, parameters.beam, log_p.shape[3])
