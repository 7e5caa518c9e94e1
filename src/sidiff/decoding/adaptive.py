"""Adaptive decoding: easy users cost fewer denoiser calls.

Beyond the papers. After each call a user's best state says how many digits it is sure
of: those whose most probable code has more than ``threshold``. So many, the most
probable first, are filled in all the user's beams without asking again, at least one;
a single one is filled as by CPD. A user whose SIDs are complete leaves the batch.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from sidiff.decoding import beams as b
from sidiff.decoding.beams import Beams
from sidiff.decoding.catalogue import Catalogue
from sidiff.decoding.constraint import Constraint
from sidiff.decoding.cpd import fill_one
from sidiff.decoding.parallel import fill_many, most_confident
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
    """Generate SIDs for a batch of users; arguments and result as for CPD."""
    parameters = parameters.model_copy(update={"order": "confidence"})
    search = Search.build(denoiser, parameters, catalogue, excluded)
    digits, device = denoiser.config.digits, excluded.device
    users = torch.arange(len(excluded), device=device)  # those still under search
    filled = torch.zeros_like(users)
    beams = b.start(len(users), digits, device)
    constraint = search.constraint
    finished: list[tuple[Tensor, Beams]] = []
    while len(users):
        log_p = search.log_p(beams, memory, constraint)
        count = _sure_digits(search, log_p, filled)
        parts = []
        # At most L kinds of users, however many users.
        for kind in (filled * (digits + 1) + count).unique().tolist():
            before, more = divmod(kind, digits + 1)
            rows = ((filled == before) & (count == more)).nonzero()[:, 0]
            children = _fill(search, beams, log_p, rows, before, more, constraint)
            parts.append((rows, children))
        rows = torch.cat([rows for rows, _ in parts])
        order = rows.argsort()
        beams = _rows(_joined([part for _, part in parts]), order)
        filled = filled + count
        done = filled == digits
        if bool(done.any()):
            gone, left = done.nonzero()[:, 0], (~done).nonzero()[:, 0]
            finished.append((users[gone], _rows(beams, gone)))
            users, filled, beams = users[left], filled[left], _rows(beams, left)
            memory = memory.take(left)
            constraint = None if constraint is None else constraint.take(left)
    order = torch.cat([whose for whose, _ in finished]).argsort()
    return search.decoded(_rows(_joined([part for _, part in finished]), order))


def _sure_digits(search: Search, log_p: Tensor, filled: Tensor) -> Tensor:
    """Digits to fill in one go, ``(B,)``, at least 1."""
    stages = search.parameters.parallel
    sure = log_p[:, 0].amax(-1).exp() > stages.threshold
    count = torch.where(filled < stages.warmup_steps, 1, sure.sum(1).clamp(min=1))
    # A user who may get nothing has states that mean nothing; they end all the same.
    return count.minimum(log_p.shape[2] - filled)


def _fill(
    search: Search,
    beams: Beams,
    log_p: Tensor,
    rows: Tensor,
    filled: int,
    count: int,
    constraint: Constraint | None,
) -> Beams:
    """The children of some users, all of whom fill as many digits; ``beam`` slots."""
    beams, log_p = _rows(beams, rows), log_p[rows]
    if count == 1:
        children = fill_one(search, beams, log_p, filled)
    else:
        theirs = None if constraint is None else constraint.take(rows)
        digits = most_confident(log_p, count)
        children = fill_many(search, beams, log_p, digits, theirs)
    missing = search.parameters.beam - children.scores.shape[1]
    return Beams(
        F.pad(children.codes, (0, 0, 0, missing)),
        F.pad(children.masked, (0, 0, 0, missing)),
        F.pad(children.scores, (0, missing), value=-torch.inf),
        F.pad(children.nodes, (0, missing)),
    )


def _rows(beams: Beams, users: Tensor) -> Beams:
    return Beams(*(tensor[users] for tensor in beams))


def _joined(parts: list[Beams]) -> Beams:
    return Beams(*(torch.cat(tensors) for tensors in zip(*parts, strict=True)))
