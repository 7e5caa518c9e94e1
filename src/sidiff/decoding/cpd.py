"""CPD, confidence-guided parallel denoising, and its fixed-order controls.

DiffGRM (arXiv 2510.21805), Eqs. 8-10: starting from a fully hidden SID, each step
fills one digit per beam and keeps the best ``beam`` triples (beam, digit, code)
over all beams, open digits and codes by summed log-probability. Beams may fill
their digits in different orders. ``order: random`` and ``fixed`` allow one digit a
step, the same for everybody, as controls.

Merging is ours: the same partial SID reached in two orders is one state. A state of
t filled digits has at most t parents when parents are distinct, so the best
``t * beam`` candidates always hold the best ``beam`` distinct states: nothing is lost.
So is the constraint: with a lattice, a beam may only take steps that lead to an item.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from sidiff.decoding.catalogue import Catalogue
from sidiff.decoding.keys import repeats, state_keys
from sidiff.decoding.lattice import Lattice
from sidiff.decoding.results import Decoded
from sidiff.diffusion.denoiser import DenoisingModel, Memory
from sidiff.parameters import DecodingParameters


class Beams(NamedTuple):
    """Partial SIDs of every user, best first.

    Attributes:
        codes: ``(B, A, L)``; meaningless where hidden.
        hidden: ``(B, A, L)``.
        scores: ``(B, A)``.
        nodes: place in the lattice ``(B, A)``; unused without one.
    """

    codes: Tensor
    hidden: Tensor
    scores: Tensor
    nodes: Tensor

    def take(self, rows: Tensor, scores: Tensor) -> Beams:
        """The beams ``rows`` ``(B, C)`` of each user, with new scores."""
        index = rows[..., None].expand(-1, -1, self.codes.shape[2])
        return Beams(
            self.codes.gather(1, index),
            self.hidden.gather(1, index),
            scores,
            self.nodes.gather(1, rows),
        )


@torch.inference_mode()
def decode(
    denoiser: DenoisingModel,
    memory: Memory,
    parameters: DecodingParameters,
    catalogue: Catalogue,
) -> Decoded:
    """Generate SIDs for a batch of users.

    Args:
        denoiser: the trained network.
        memory: the users' encoded histories, batch size B.
        parameters: beam width, order, merging, constraint, form of the last step.
        catalogue: the existing SIDs; read only under ``constraint: items``.

    Returns:
        Up to ``beam`` complete SIDs per user. Equal SIDs may repeat unless merged;
        unconstrained, a SID need not belong to an item.
    """
    digits = denoiser.config.digits
    lattice = catalogue.lattice if parameters.constraint == "items" else None
    steps = _allowed_digits(digits, parameters, memory.bias.device)
    beams = _start(memory.bias.shape[0], digits, memory.bias.device)
    distinct, seen = 0, 0
    for step, allowed in enumerate(steps):
        keys = state_keys(beams.codes, beams.hidden, denoiser.config.codes_per_digit)
        live = beams.scores > -torch.inf
        distinct += int((live & ~repeats(keys.masked_fill(~live, -1))).sum())
        seen += int(live.sum())
        log_p = denoiser.logits(beams.codes, beams.hidden, memory).log_softmax(-1)
        legal = (beams.hidden & allowed)[..., None]
        if lattice is not None:
            legal = legal & lattice.allowed(beams.nodes)
        log_p = log_p.masked_fill(~legal, -torch.inf)
        if step == digits - 1 and parameters.last_step == "greedy":
            beams = _fill_greedily(beams, log_p, parameters, lattice)
        else:
            beams = _expand(beams, log_p, parameters, lattice, filled=step + 1)
    return Decoded(beams.codes, beams.scores, digits, distinct / seen)


def _allowed_digits(
    digits: int, parameters: DecodingParameters, device: torch.device
) -> Tensor:
    """Digits that may be filled at each step, ``(steps, L)`` bool."""
    if parameters.order == "confidence":
        return torch.ones(digits, digits, dtype=torch.bool, device=device)
    order = torch.arange(digits)
    if parameters.order == "random":
        generator = torch.Generator().manual_seed(parameters.seed)
        order = torch.randperm(digits, generator=generator)
    return torch.eye(digits, dtype=torch.bool)[order].to(device)


def _start(batch: int, digits: int, device: torch.device) -> Beams:
    return Beams(
        torch.zeros(batch, 1, digits, dtype=torch.int64, device=device),
        torch.ones(batch, 1, digits, dtype=torch.bool, device=device),
        torch.zeros(batch, 1, device=device),
        torch.zeros(batch, 1, dtype=torch.int64, device=device),
    )


def _expand(
    beams: Beams,
    log_p: Tensor,
    parameters: DecodingParameters,
    lattice: Lattice | None,
    *,
    filled: int,
) -> Beams:
    """The best children over all beams, open digits and codes."""
    symbols = log_p.shape[2] * log_p.shape[3]
    candidates = (beams.scores[..., None, None] + log_p).flatten(1)
    merge = parameters.merge == "max"
    wanted = parameters.beam * (filled if merge else 1)
    scores, flat = candidates.topk(min(wanted, candidates.shape[1]), dim=1)
    children = _fill(
        beams.take(flat // symbols, scores), flat % symbols, log_p, lattice
    )
    return _merge(children, parameters.beam, log_p.shape[3]) if merge else children


def _fill_greedily(
    beams: Beams, log_p: Tensor, parameters: DecodingParameters, lattice: Lattice | None
) -> Beams:
    """The release's last step: each beam takes the best code of its open digit."""
    score, choice = log_p.flatten(2).max(2)
    scores, parent = (beams.scores + score).sort(dim=1, descending=True, stable=True)
    choice = choice.gather(1, parent)
    children = _fill(beams.take(parent, scores), choice, log_p, lattice)
    if parameters.merge == "none":
        return children
    return _merge(children, parameters.beam, log_p.shape[3])


def _fill(
    beams: Beams, choice: Tensor, log_p: Tensor, lattice: Lattice | None
) -> Beams:
    """Fill one digit of each beam; ``choice`` is digit * K + code, ``(B, C)``."""
    digit, code = choice // log_p.shape[3], choice % log_p.shape[3]
    nodes = beams.nodes
    if lattice is not None:
        nodes = lattice.follow(nodes, digit, code)
    return Beams(
        beams.codes.scatter(2, digit[..., None], code[..., None]),
        beams.hidden.scatter(2, digit[..., None], False),
        beams.scores,
        nodes,
    )


def _merge(beams: Beams, width: int, codes_per_digit: int) -> Beams:
    """Keep each state once, with its best score; beams come best first."""
    keys = state_keys(beams.codes, beams.hidden, codes_per_digit)
    scores = beams.scores.masked_fill(repeats(keys), -torch.inf)
    scores, kept = scores.topk(min(width, scores.shape[1]), dim=1)
    return beams.take(kept, scores)
