"""CPD, confidence-guided parallel denoising, and its fixed-order controls.

DiffGRM (arXiv 2510.21805), Eqs. 8-10: starting from a fully hidden SID, each step
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
from sidiff.decoding.catalogue import Catalogue, Continuations
from sidiff.decoding.keys import repeats
from sidiff.decoding.results import Decoded
from sidiff.diffusion.denoiser import DenoisingModel, Memory
from sidiff.parameters import DecodingParameters

EXPANSIONS = {"max": b.expand_max, "sum": b.expand_sum}


@torch.inference_mode()
def decode(
    denoiser: DenoisingModel,
    memory: Memory,
    parameters: DecodingParameters,
    catalogue: Catalogue,
    blocked: Tensor,
) -> Decoded:
    """Generate SIDs for a batch of users.

    Args:
        denoiser: the trained network.
        memory: the users' encoded histories, batch size B.
        parameters: beam width, order, merging, constraint, form of the last step.
        catalogue: the existing SIDs; read only under ``constraint: items``.
        blocked: rows of SIDs that a user must not get, -1 for none, ``(B, E)``; read
            only under ``constraint: items``.

    Returns:
        Up to ``beam`` complete SIDs per user. Equal SIDs may repeat unless merged;
        unconstrained, a SID need not belong to an item.
    """
    digits, size = denoiser.config.digits, denoiser.config.codes_per_digit
    device = memory.bias.device
    tree = catalogue.continuations if parameters.constraint == "items" else None
    beams = b.start(memory.bias.shape[0], digits, device)
    distinct, seen = 0, 0
    for step, allowed in enumerate(_allowed_digits(digits, parameters, device)):
        keys = beams.keys(size)
        distinct += int(((keys >= 0) & ~repeats(keys)).sum())
        seen += int((keys >= 0).sum())
        logits = denoiser.logits(beams.codes, beams.hidden, memory)
        legal = beams.hidden[..., None]
        if tree is not None:
            legal = legal & legal_steps(beams, tree, catalogue, blocked)
        if parameters.weighting == "legal":
            logits = logits.masked_fill(~legal, torch.finfo(logits.dtype).min)
        log_p = logits.log_softmax(-1)
        log_p = log_p.masked_fill(~(legal & allowed[:, None]), -torch.inf)
        if step == digits - 1 and parameters.last_step == "greedy":
            beams = _fill_greedily(beams, log_p, parameters, tree)
        elif parameters.merge == "none":
            beams = b.best_children(beams, log_p, parameters.beam, tree)
        else:
            expand = EXPANSIONS[parameters.merge]
            beams = expand(beams, log_p, parameters.beam, step + 1, tree)
    return Decoded(beams.codes, beams.scores, digits, distinct / seen)


def legal_steps(
    beams: Beams, tree: Continuations, catalogue: Catalogue, blocked: Tensor
) -> Tensor:
    """Steps with a SID behind them that the user may get, bool ``(B, A, L, K)``.

    Blocked SIDs are subtracted from the number of SIDs behind each step.
    """
    counts = tree.counts(beams.codes, beams.hidden, beams.nodes)
    if not blocked.shape[1]:
        return counts > 0
    digits, size = counts.shape[2:]
    codes = catalogue.codes[blocked.clamp(min=0)]  # (B, E, L)
    same = codes[:, None] == beams.codes[:, :, None]  # (B, A, E, L)
    below = (same | beams.hidden[:, :, None]).all(3) & (blocked >= 0)[:, None]
    symbols = torch.arange(digits, device=codes.device) * size + codes
    symbols = symbols.flatten(1)[:, None].expand(-1, below.shape[1], -1)
    less = -below[..., None].expand_as(same).flatten(2).to(counts.dtype)
    return counts.flatten(2).scatter_add(2, symbols, less).view_as(counts) > 0


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
